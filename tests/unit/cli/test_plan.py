"""What `plan --diff` prints of a source: its files and lines, bounded."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli import plan
from reconciler.cli.main import group
from reconciler.inspection.manifests import desired
from reconciler.settings.settings import Settings
from reconciler.staging.differences import mark_copied
from reconciler.staging.source.snapshot import fingerprint
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database

WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of an app that served once, as it was built."""
    source, manifests = tmp_path / "shop", tmp_path / "m"
    source.mkdir()
    manifests.mkdir()
    (source / "wsgi.py").write_text(WSGI)
    (source / ".env").write_text("DB=first-of-all\n")
    (manifests / "shop.yaml").write_text("path: ../shop\n")
    paths = StatePaths(state=tmp_path / "state")
    paths.state.mkdir(mode=0o700)
    app = desired(Settings(manifests=manifests, paths=paths), None).apps["shop"]
    revision = app.revision(fingerprint(str(source)))
    build = paths.builds("shop") / revision.build.id
    shutil.copytree(source, build / "code")
    mark_copied(build)
    with closing(open_database(paths.database)) as database:
        RevisionHistory(Records(database), "boot").mark_good("shop", revision)
    return source


def planned(source: Path, *options: str) -> str:
    place = source.parent
    words = ["plan", "shop", "--manifests", str(place / "m"), "--state", str(place / "state"), *options]
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 2, done.output
    return done.output


def test_the_lines_of_a_source_that_was_edited_are_shown_and_secrets_are_not(source: Path) -> None:
    (source / "wsgi.py").write_text(WSGI.replace("hello", "bye"))
    (source / ".env").write_text("DB=second-of-all\n")
    shown = planned(source, "--diff")
    assert (
        f"""\
  files of its source that differ:
    .env +1 {MINUS}1, not shown: it holds secrets
    wsgi.py +1 {MINUS}1
      @@ -1,3 +1,3 @@
       def application(environ, start_response):
           start_response('200 OK', [])
      -    return [b'hello']
      +    return [b'bye']
"""
        in shown
    )
    assert "of-all" not in shown
    assert "bye" not in planned(source)
    assert [each["path"] for each in json.loads(planned(source, "--diff", "--json"))["apps"][0]["files"]["files"]] == [
        ".env",
        "wsgi.py",
    ]
    assert json.loads(planned(source, "--json"))["apps"][0]["files"] is None


def test_lines_and_files_beyond_their_bounds_are_counted(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MOST_FILES", 3)
    monkeypatch.setattr(plan, "_MOST_LINES", 4)
    for name in "abcde":
        (source / name).write_text("1\n2\n3\n")
    shown = planned(source, "--diff").splitlines()
    begin = shown.index("  files of its source that differ:") + 1
    assert shown[begin : begin + 9] == [
        "    a new", "      @@ -0,0 +1,3 @@", "      +1", "      +2", "      +3",
        "    b new", "      and 4 more lines",
        "    c new", "      and 4 more lines",
    ]  # fmt: skip
    assert shown[begin + 9] == "    and 2 more files"
