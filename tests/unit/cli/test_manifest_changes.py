"""The commands that edit manifests in place: what they write, what they say, and what they refuse to write."""

import json
import os
import shlex
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.cli.main import group
from reconciler.documents.tree import trees_of
from reconciler.linux import shared_files
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.described import NotDescribed, described
from reconciler.manifests.origin import Listing
from reconciler.manifests.parse_file import parse
from reconciler.state.schema import open_database
from reconciler.vault.secret import HIDDEN
from tests.support.manifest_texts import comments_in, manifest_texts, values
from tests.support.pseudo_terminal import PseudoTerminal

SECRET = "s3cret-Value-1"
BLOG = "# the blog\npath: ../app  # code\nenv:\n  LOG_LEVEL: 'info'  # for now\n  URL: postgres://u:hidden-1@h/x\n"
MANY = 500 if os.environ.get("RECONCILER_TESTS") == "nightly" else 15


class Place:
    """A directory of manifests, and the commands on it."""

    def __init__(self, root: Path) -> None:
        self.state, self.manifests = root / "state", root / "m"
        self.manifests.mkdir()
        self.blog = self.manifests / "blog.yaml"
        self.blog.write_text(BLOG)

    def run(self, *words: str, code: int = 0, given: str | bytes | None = None, **env: str) -> Result:
        options = ("--manifests", str(self.manifests), "--state", str(self.state))
        done = CliRunner(env=env).invoke(group, [*words, *options], prog_name="reconciler", input=given)
        assert done.exit_code == code, done.output + repr(done.exception)
        return done

    def secret(self, name: str) -> Path:
        return self.manifests / "secrets" / name


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# config


def test_variables_are_listed_with_where_each_comes_from(place: Place) -> None:
    place.blog.write_text(f"{BLOG}  KEY: {{file: secrets/key}}\nenv_files: [more.env, missing.env]\n")
    (place.manifests / "more.env").write_text(f"OTHER={SECRET}\nKEY=x\n")
    listed = place.run("config", "blog")
    rows = {line.split()[0]: line.split()[1:] for line in listed.stdout.splitlines()}
    assert rows["LOG_LEVEL"] == ["info", f"{place.blog}:4"]
    assert rows["URL"][0] == f"'postgres://u:{HIDDEN}@h/x'"
    assert rows["KEY"] == [HIDDEN, str(place.manifests / "secrets" / "key")]
    assert rows["OTHER"] == [HIDDEN, str(place.manifests / "more.env")]
    assert "missing.env" in listed.stderr
    facts = json.loads(place.run("config", "blog", "--json").stdout)
    assert [(each["name"], each["from"]) for each in facts["variables"]] == [
        ("KEY", "file"), ("LOG_LEVEL", "value"), ("OTHER", "env_files"), ("URL", "value"),
    ]  # fmt: skip


def test_a_variable_is_set_in_place_and_what_was_written_is_told(place: Place) -> None:
    told = place.run("config", "blog", "set", "LOG_LEVEL=debug", "DEBUG=true", "EMPTY=").output.splitlines()
    assert told[:3] == [
        f"{place.blog}:4: LOG_LEVEL: info → debug",
        f"{place.blog}:6: DEBUG: (not set) → true",
        f"{place.blog}:7: EMPTY: (not set) → ''",
    ]
    assert told[3].startswith(f"no daemon is running for {place.manifests}: 'reconciler run")
    assert place.blog.read_text() == BLOG.replace("'info'", "'debug'") + '  DEBUG: "true"\n  EMPTY: ""\n'
    assert place.run("config", "blog", "set", "LOG_LEVEL=debug").output == "blog has these values already\n"
    place.run("config", "blog", "unset", "DEBUG", "EMPTY")
    assert place.blog.read_text() == BLOG.replace("'info'", "'debug'")


def test_set_and_unset_of_the_only_variable_leave_the_file_as_it_was(place: Place) -> None:
    place.blog.write_text("path: ../app")
    place.run("config", "blog", "set", "A=1")
    place.run("config", "blog", "unset", "A")
    assert place.blog.read_text() == "path: ../app"


def test_a_secret_in_the_words_of_the_command_is_warned_of_and_not_printed(place: Place) -> None:
    for word in (f"API_KEY={SECRET}", f"URL=postgres://u:{SECRET}@h/x"):
        done = place.run("config", "blog", "set", word)
        assert "reconciler secrets set blog" in done.stderr
        assert SECRET not in done.output
    assert "reconciler secrets" not in place.run("config", "blog", "set", "GREETING=hello").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("blog unset LOG_LEVL", "did you mean 'LOG_LEVEL'?"),
        ("blg", "did you mean 'blog'?"),
        ("blog set VCAP_SERVICES=x", "VCAP_ are set by the daemon"),
    ],
)
def test_what_cannot_be_done_is_an_error_and_nothing_is_written(place: Place, words: str, says: str) -> None:
    assert says in place.run("config", *words.split(), code=1).output
    assert place.blog.read_text() == BLOG


@pytest.mark.parametrize(
    "words", ["blog set", "blog X=s3", "set blog X=s3", "blog set s3", "blog set A-B=s3", "blog get X"]
)
def test_a_wrong_form_is_told_without_the_value(place: Place, words: str) -> None:
    assert "s3" not in place.run("config", *words.split(), code=2).output


def test_a_manifest_that_is_refused_already_is_not_made_worse(place: Place) -> None:
    place.blog.write_text("path: ../app\nwrokers: 2\n")
    told = place.run("config", "blog", "set", "A=1", code=1).output
    assert "refused as it is" in told
    assert "did you mean 'workers'?" in told
    assert place.blog.read_text() == "path: ../app\nwrokers: 2\n"


def test_an_environment_without_a_value_is_filled(place: Place) -> None:
    place.blog.write_text("path: ../app\nenv:\n")
    place.run("config", "blog", "set", "A=1")
    assert place.blog.read_text() == 'path: ../app\nenv:\n  A: "1"\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_encoding_and_the_mode_stay(place: Place, encoding: str) -> None:
    text = "path: ../app # é\r\n"
    place.blog.write_bytes(text.encode(encoding))
    place.blog.chmod(0o640)
    place.run("scale", "blog", "3")
    assert place.blog.read_bytes() == (text + "workers: 3\r\n").encode(encoding)
    assert stat.S_IMODE(place.blog.stat().st_mode) == 0o640


def test_two_manifests_of_one_app_are_both_left(place: Place) -> None:
    (place.manifests / "other.yaml").write_text("name: blog\npath: x\n")
    assert "several manifests describe" in place.run("scale", "blog", "2", code=1).output


def test_a_manifest_of_another_origin_than_a_directory_is_changed_there() -> None:
    look = Listing(
        origin="git+https://h/x@main", files={"git+https://h/x@main/blog.yaml": b"path: x\n"}, identity=(0, 0)
    )
    with pytest.raises(NotDescribed, match=r"comes from git\+https://h/x@main, not from a directory"):
        described([look], "blog")


def test_an_edit_that_another_program_makes_meanwhile_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    written = shared_files.rewrite
    others = [b"# another\n" + BLOG.encode()]

    def meanwhile(path: Path, before: bytes, after: bytes) -> None:
        if others:
            path.write_bytes(others.pop())
        written(path, before, after)

    monkeypatch.setattr(shared_files, "rewrite", meanwhile)
    assert f"{place.blog}:7: workers" in place.run("scale", "blog", "2").output
    assert place.blog.read_text() == f"# another\n{BLOG}workers: 2\n"


# secrets


def test_a_secret_is_read_from_standard_input_into_a_file_of_its_own(place: Place) -> None:
    done = place.run("secrets", "set", "blog", "API_KEY", given=f"{SECRET}\n")
    assert f"{place.blog}:6: API_KEY: (not set) → {{file: secrets/blog.API_KEY}}" in done.output
    assert SECRET not in done.output
    file = place.secret("blog.API_KEY")
    assert file.read_text() == f"{SECRET}\n"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent)] == [0o600, 0o700]
    assert place.blog.read_text() == f"{BLOG}  API_KEY: {{file: secrets/blog.API_KEY}}\n"
    place.run("secrets", "set", "blog", "API_KEY", given="other")
    assert file.read_text() == "other"
    assert f"removed {file}" in place.run("secrets", "unset", "blog", "API_KEY").output
    assert not file.exists()
    assert place.blog.read_text() == BLOG


def test_the_file_that_the_manifest_names_is_the_one_that_is_written(place: Place) -> None:
    place.blog.write_text("path: ../app\nenv: {KEY: {file: key}}\n")
    (place.manifests / "shop.yaml").write_text("path: ../app\nenv: {SAME: {file: ./key}}\n")
    done = place.run("secrets", "set", "blog", "KEY", given=SECRET)
    assert (place.manifests / "key").read_text() == SECRET
    assert "shop (SAME)" in done.output
    told = place.run("secrets", "unset", "blog", "KEY").output
    assert f"kept {place.manifests}/key" in told
    assert (place.manifests / "key").exists()


def test_a_file_that_another_app_uses_is_kept(place: Place) -> None:
    place.run("secrets", "set", "blog", "KEY", given=SECRET)
    (place.manifests / "shop.yaml").write_text("path: ../app\nenv_files: [secrets/blog.KEY]\n")
    assert "shop (env_files)" in place.run("secrets", "unset", "blog", "KEY").output
    assert place.secret("blog.KEY").exists()


@pytest.mark.parametrize("given", ["", "\n", "a\0b", b"\xff\xfe", "x" * 200_000])
def test_what_can_be_no_value_is_refused_and_nothing_is_written(place: Place, given: str | bytes) -> None:
    place.run("secrets", "set", "blog", "KEY", code=1, given=given)
    assert place.blog.read_text() == BLOG
    assert not place.secret("").exists()


def test_a_reference_that_would_be_refused_leaves_no_file(place: Place) -> None:
    place.run("secrets", "set", "blog", "VCAP_SERVICES", code=1, given=SECRET)
    assert not place.secret("").exists()
    told = place.run("secrets", "set", "blog", f"KEY={SECRET}", code=2).output
    assert SECRET not in told


def test_in_a_checkout_git_leaves_new_secrets_out(place: Place) -> None:
    (place.manifests.parent / ".git").mkdir()
    place.run("secrets", "set", "blog", "KEY", given=SECRET)
    assert place.secret(".gitignore").read_text() == "*\n"


def test_on_a_terminal_the_value_is_asked_for_and_not_shown(place: Place) -> None:
    program = Path(sys.executable).with_name("reconciler")
    words = [
        str(program),
        "secrets",
        "set",
        "blog",
        "KEY",
        "--manifests",
        str(place.manifests),
        "--state",
        str(place.state),
    ]
    terminal = PseudoTerminal(words)
    try:
        while "not shown" not in terminal.sent:
            assert terminal.program.poll() is None, terminal.sent
        terminal.type(f"{SECRET}\n")
        assert terminal.await_end() == 0, terminal.sent
        assert SECRET not in terminal.sent
    finally:
        terminal.close()
    assert place.secret("blog.KEY").read_text() == SECRET


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_secret_belongs_to_the_user_of_the_daemon(place: Place) -> None:
    place.state.mkdir()
    open_database(place.state / "reconciler.db").close()
    os.chown(place.state, 12345, 23456)
    place.run("secrets", "set", "blog", "KEY", given=SECRET)
    for path in (place.secret(""), place.secret("blog.KEY")):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


# scale and maintenance


def test_workers_are_scaled(place: Place) -> None:
    assert f"{place.blog}:6: workers: (not set) → 4" in place.run("scale", "blog", "4").output
    assert f"{place.blog}:6: workers: 4 → auto" in place.run("scale", "blog", "auto").output
    assert "already" in place.run("scale", "blog", "auto").output
    assert place.blog.read_text() == f"{BLOG}workers: auto\n"
    for wrong, code in (("0", 1), ("1001", 1), ("-1", 2), ("many", 2)):
        place.run("scale", "blog", wrong, code=code)
    assert place.blog.read_text() == f"{BLOG}workers: auto\n"


def test_a_range_is_left_and_a_number_for_a_time_is_not_written(place: Place) -> None:
    place.blog.write_text(f"{BLOG}workers: {{min: 1, max: 8}}\n")
    for words in (("6",), ("6", "--for", "2h"), ("auto",)):
        assert "no daemon" in place.run("scale", "blog", *words, code=3).output
    place.run("scale", "blog", "auto", "--for", "2h", code=2)
    assert place.blog.read_text() == f"{BLOG}workers: {{min: 1, max: 8}}\n"
    place.blog.write_text(BLOG)
    place.run("scale", "blog", "6", "--for", "2h", code=3)
    assert place.blog.read_text() == BLOG


def test_maintenance_begins_and_ends(place: Place) -> None:
    place.run("maintenance", "blog", "on")
    assert place.blog.read_text() == f"{BLOG}state: maintenance\n"
    assert "already" in place.run("maintenance", "blog", "on").output
    place.run("maintenance", "blog", "off")
    assert place.blog.read_text() == BLOG
    assert "is not in maintenance" in place.run("maintenance", "blog", "off").output


def test_maintenance_does_not_start_what_its_manifest_stops(place: Place) -> None:
    place.blog.write_text(f"{BLOG}state: stopped\n")
    assert "state: stopped" in place.run("maintenance", "blog", "on", code=1).output
    assert place.blog.read_text() == f"{BLOG}state: stopped\n"


# edit


def drafts(place: Place) -> list[Path]:
    return [path for path in place.manifests.iterdir() if path != place.blog]


def test_an_edit_is_saved_once_it_is_valid(place: Place) -> None:
    told = place.run("edit", "blog", EDITOR="sed -i s/info/warn/").output
    assert f"{place.blog}:4: 1 line removed, 1 added" in told
    assert place.blog.read_text() == BLOG.replace("info", "warn")
    assert drafts(place) == []
    assert "stays as it was" in place.run("edit", "blog", VISUAL="true", EDITOR="false").output
    assert drafts(place) == []


def test_what_an_editor_prints_is_no_part_of_the_output(place: Place) -> None:
    words = ("edit", "blog", "--json", "--manifests", place.manifests, "--state", place.state)
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *words],
        env={**os.environ, "VISUAL": "echo edited"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["changed"] is False
    assert done.stderr.startswith("edited ")


@pytest.mark.parametrize("editor", ["sed -i s/path/pth/", "sed -i '$aname: other'", "sh -c 'echo x: >> $0; exit 3'"])
def test_an_edit_that_is_not_saved_is_kept(place: Place, editor: str) -> None:
    told = place.run("edit", "blog", code=1, EDITOR=editor).output
    (draft,) = drafts(place)
    assert str(draft) in told
    assert draft.read_text() != BLOG
    assert stat.S_IMODE(draft.stat().st_mode) == 0o600
    assert place.blog.read_text() == BLOG


def test_an_edit_on_top_of_a_change_that_was_not_seen_is_kept(place: Place) -> None:
    editor = f"sh -c {shlex.quote(f'sed -i s/info/warn/ $0; echo workers: 2 >> {place.blog}')}"
    told = place.run("edit", "blog", code=1, EDITOR=editor).output
    (draft,) = drafts(place)
    assert (
        f"changed by another program while you edited it, and stays as that left it; your text is kept in {draft}"
        in told
    )
    assert place.blog.read_text() == f"{BLOG}workers: 2\n"


def test_a_file_that_is_no_yaml_can_be_edited(place: Place) -> None:
    place.blog.write_text("path: [x\n")
    place.run("edit", "blog", EDITOR="sed -i s/.x/x/")
    assert place.blog.read_text() == "path: x\n"


def test_without_an_editor_it_says_so(place: Place) -> None:
    assert "no editor" in place.run("edit", "blog", code=1, EDITOR="no-such-editor", VISUAL="").output


# every command on manifests as people write them


@st.composite
def commands(draw: st.DrawFn) -> tuple[tuple[str, ...], str | None]:
    name = draw(st.sampled_from(("A", "B", "NEW")))
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return ("config", "app", "set", f"{name}={draw(values())}"), None
    if kind == 1:
        return ("config", "app", "unset", name), None
    if kind == 2:
        return ("scale", "app", draw(st.one_of(st.just("auto"), st.integers(1, 1000).map(str)))), None
    if kind == 3:
        return ("maintenance", "app", draw(st.sampled_from(("on", "off")))), None
    if kind == 4:
        return ("secrets", "set", "app", name), "value"
    return ("edit", "app"), None


@settings(max_examples=MANY)
@given(manifest_texts(), st.lists(commands(), min_size=1, max_size=3))
def test_every_command_keeps_comments_and_order_and_the_result_is_what_was_asked(
    text: str, asked: list[tuple[tuple[str, ...], str | None]]
) -> None:
    with TemporaryDirectory() as root:
        place = Place(Path(root))
        place.blog.unlink()
        app = place.manifests / "app.yaml"
        app.write_bytes(text.encode())
        for words, given in asked:
            before = app.read_bytes().decode()
            commands_on(place, app, words, given)
            after = app.read_bytes().decode()
            assert not Counter(comments_in(before)) - Counter(comments_in(after))
            keys, now = keys_of(before), keys_of(after)
            assert [key for key in keys if key in now] == [key for key in now if key in keys]
            assert after == before or not parse(str(app), after.encode(), HostDefaults()).problems
            if words[0] != "edit" and after != before:
                says(after, words)


def commands_on(place: Place, app: Path, words: tuple[str, ...], given: str | None) -> None:
    """Run a command; of what the file holds and what it may hold, the exit code is 0 or 1."""
    options = ("--manifests", str(place.manifests), "--state", str(place.state))
    edited = f"sh -c {shlex.quote('cat $0 > $0.2; echo stop_timeout: 7s > $0; cat $0.2 >> $0; rm $0.2')}"
    runner = CliRunner(env={"EDITOR": edited, "VISUAL": ""})
    done = runner.invoke(group, [*words, *options], input=given)
    assert done.exit_code in (0, 1), done.output
    assert "in place" not in done.output, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)


def document(text: str) -> dict[str, object]:
    (tree,) = (t for t in trees_of("", text)[0] if isinstance(t.written, dict) and t.written.get("path") == "../app")
    assert isinstance(tree.written, dict)
    return dict(tree.written)


def keys_of(text: str) -> list[str]:
    found = document(text)
    env = found.get("env") or {}
    assert isinstance(env, dict)
    return [*found, *(f"env.{name}" for name in env)]


def says(text: str, words: tuple[str, ...]) -> None:
    found = document(text)
    env = found.get("env") or {}
    assert isinstance(env, dict)
    match words:
        case ("config", _, "set", word):
            name, _, value = word.partition("=")
            assert env[name] == value
        case ("config", _, "unset", name):
            assert name not in env
        case ("scale", _, workers):
            assert found["workers"] == workers
        case ("maintenance", _, switch):
            assert found.get("state") == ("maintenance" if switch == "on" else None)
        case ("secrets", _, app, name):
            assert env[name] == {"file": f"secrets/{app}.{name}"} or str(env[name]).startswith("{'file'")
