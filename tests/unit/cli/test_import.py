"""`reconciler import`: what it writes, what it refuses, what it says, and how it exits."""

import contextlib
import json
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.import_ import _KINDS
from reconciler.cli.main import group
from reconciler.inspection.imports.kinds import READERS
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.site import REPOSITORY
from tests.unit.state.test_running_daemons import held

SAMPLES = REPOSITORY / "tests" / "projects" / "imports"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "manifests"


def run(*words: str | Path, directory: Path, code: int = 0) -> Result:
    arguments = ["import", *map(str, words), "--manifests", str(directory), "--state", str(directory.parent / "state")]
    done = CliRunner().invoke(group, arguments, prog_name="reconciler")
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def test_a_manifest_and_its_secrets_are_written_and_said(directory: Path) -> None:
    said = run(SAMPLES / "heroku", directory=directory).output
    assert sorted(path.name for path in directory.glob("*.yaml")) == ["blog-postgresql.yaml", "blog.yaml"]
    secret = directory / "secrets" / "blog-api-token"
    assert secret.read_text() == "tell-nobody-of-this\n"
    assert (stat.S_IMODE(secret.stat().st_mode), stat.S_IMODE(secret.parent.stat().st_mode)) == (0o600, 0o700)
    assert f"wrote {secret} (a secret, mode 0600)" in said
    assert "tell-nobody-of-this" not in said + (directory / "blog.yaml").read_text()


def test_check_writes_nothing_and_exits_with_2_if_something_has_no_counterpart(directory: Path, tmp_path: Path) -> None:
    assert "would write" in run(SAMPLES / "heroku", "--check", directory=directory, code=2).output
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Procfile").write_text("web: gunicorn shop:app\n")
    run(tmp_path / "shop", "--check", directory=directory)
    assert not directory.exists()


def test_what_is_there_already_is_left_as_it_is(directory: Path) -> None:
    run(SAMPLES / "heroku", directory=directory)
    run(SAMPLES / "heroku", directory=directory)  # the same once more
    manifest = directory / "blog.yaml"
    manifest.write_text(manifest.read_text().replace("workers: 2", "workers: 3"))
    (directory / "blog-postgresql.yaml").unlink()
    said = run(SAMPLES / "heroku", directory=directory, code=1).output
    assert "-workers: 3" in said
    assert "+workers: 2" in said
    assert "workers: 3" in manifest.read_text()
    assert not (directory / "blog-postgresql.yaml").exists()


def test_a_secret_that_is_there_with_another_value_is_not_shown(directory: Path) -> None:
    (directory / "secrets").mkdir(parents=True)
    (directory / "secrets" / "blog-api-token").write_text("another-value")
    said = run(SAMPLES / "heroku", directory=directory, code=1).output
    assert "already holds another value" in said
    assert "another-value" not in said
    assert not (directory / "blog.yaml").exists()


def test_of_several_kinds_one_is_taken_and_said(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "heroku", tmp_path / "both")
    shutil.copy(SAMPLES / "uwsgi" / "blog.ini", tmp_path / "both")
    said = run(tmp_path / "both", "--check", directory=directory, code=2).output
    assert "Procfile as procfile" in said
    assert "not read: blog.ini; give --from uwsgi for it" in said
    assert (
        "blog.ini as uwsgi" in run(tmp_path / "both", "--check", "--from", "uwsgi", directory=directory, code=2).output
    )
    assert "has procfile, uwsgi" in run(tmp_path / "both", "--from", "kamal", directory=directory, code=1).output


def test_json_has_the_same_facts(directory: Path) -> None:
    facts = json.loads(run(SAMPLES / "heroku", "--json", directory=directory).output)
    assert facts["kind"] == "procfile"
    assert [manifest["name"] for manifest in facts["manifests"]] == ["blog", "blog-postgresql"]
    note = next(note for note in facts["manifests"][0]["not_taken_over"] if note["file"] == "Procfile")
    assert set(note) == {"file", "line", "original", "advice"}
    assert str(directory / "blog.yaml") in facts["written"]


def test_a_path_with_nothing_to_import_is_told(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "use 'reconciler init'" in run(tmp_path / "empty", directory=directory, code=1).output
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "Procfile").write_text("release: node jobs.js\n")
    assert "nothing was imported" in run(tmp_path / "workers", directory=directory, code=1).output


def test_a_named_directory_needs_no_choice_of_a_daemon(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECONCILER_STATE", raising=False)
    states = (directory.parent / "a", directory.parent / "b")
    with contextlib.ExitStack() as stack:
        for state in states:
            state.mkdir()
            open_database(StatePaths(state=state).database).close()
            stack.enter_context(held(state))
        words = ["import", str(SAMPLES / "uwsgi"), "--manifests", str(directory)]
        assert CliRunner().invoke(group, words).exit_code == 0
        assert "choose one with --state" in CliRunner().invoke(group, words[:2]).output


def test_what_this_host_does_not_have_is_said(directory: Path) -> None:
    said = run(SAMPLES / "systemd", directory=directory).output
    assert "blog.yaml names /srv/blog, which is not on this host" in said
    facts = json.loads(run(SAMPLES / "systemd", "--json", directory=directory).output)
    assert facts["manifests"][0]["not_on_this_host"] == ["/srv/blog", "/etc/blog.env"]


def test_other_files_of_the_same_kind_are_said_not_to_be_read(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "compose", tmp_path / "blog")
    (tmp_path / "blog" / "docker-compose.prod.yml").write_text("services: {web: {restart: always}}\n")
    said = run(tmp_path / "blog", directory=directory).output
    assert "not read: docker-compose.prod.yml; give its path instead of the directory's for it" in said


def test_a_file_that_says_nothing_is_said_to(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "ENV").write_text("# nothing\n")
    assert "it says nothing about an app" in run(tmp_path / "ENV", directory=directory, code=1).output


def test_the_option_offers_every_kind() -> None:
    assert set(_KINDS) == set(READERS)
