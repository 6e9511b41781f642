"""`reconciler git`: each origin, a try without a daemon, and what is newer than the commit in force."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler.cli.main import group
from reconciler.manifests.persisted import remember_origins
from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from tests.support.repository import Repository
from tests.support.signing import make_key

FACTS: dict[str, object] = {
    "name": "fleet", "repository": "fleet", "branch": "main", "paths": [""], "state": "refused",
    "message": "fleet/shop.yaml:1:1: bad; commit aaaaaaa stays in force", "head": "b" * 40, "accepted": "a" * 40,
    "in_force": "a" * 40, "good": "a" * 40, "since": None, "heard_at": 1.0, "signed": "no", "signed_by": "",
    "subjects": {},
}  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    with closing(open_database(StatePaths(state=directory).database)) as database:
        remember_origins(Records(database), [FACTS])
    return directory


def reconciler(*words: str) -> Result:
    return CliRunner().invoke(group, words)


def test_each_origin_has_a_line_that_says_that_it_is_not_signed(state: Path) -> None:
    done = reconciler("git", "--state", str(state))
    assert done.output.splitlines() == [
        "ORIGIN  STATE    IN FORCE  HEAD     SINCE  MESSAGE",
        f"fleet   refused  aaaaaaa   bbbbbbb  -      {FACTS['message']}; not signed",
    ]
    assert json.loads(reconciler("git", "--json", "--state", str(state)).output) == [FACTS]


def test_status_shows_the_origins_and_its_check_fails_for_one_that_is_not_current(state: Path) -> None:
    assert "fleet   refused  aaaaaaa   bbbbbbb" in reconciler("status", "--state", str(state)).output
    done = reconciler("status", "--check", "--state", str(state))
    assert done.exit_code == 1
    assert "not up to date: origin fleet (refused)" in done.output


def test_the_events_of_an_origin_are_shown_by_its_name(state: Path) -> None:
    with closing(open_database(StatePaths(state=state).database)) as database:
        Journal(database).write(Subject("origin", "fleet"), "refused", "it is not signed", reason="commit-refused")
        Journal(database).write(Subject("app", "fleet"), "ready", "it serves")
    done = reconciler("events", "origin/fleet", "--json", "--state", str(state))
    (event,) = map(json.loads, done.output.splitlines())
    assert (event["origin"], event["app"], event["kind"], event["text"]) == ("fleet", "", "refused", "it is not signed")
    assert "'reconciler git' lists the names" in reconciler("events", "origin/x", "--state", str(state)).output


@pytest.mark.parametrize("words", [("pull",), ("resume", "fleet"), ("take", "fleet", "bbbbbbb")])
def test_what_needs_a_daemon_says_so(state: Path, words: tuple[str, ...]) -> None:
    done = reconciler("git", *words, "--state", str(state))
    assert done.exit_code == 3
    assert "no daemon is running" in done.output
    assert reconciler("git", "--state", str(state), *words).exit_code == 3


@pytest.fixture
def settings(tmp_path: Path) -> tuple[Repository, list[str]]:
    repository = Repository.at(tmp_path)
    file = tmp_path / "host.yaml"
    text = {
        "git": {"repositories": {"fleet": {"url": str(repository.bare), "signed": "no"}}},
        "origins": {"fleet": {"repository": "fleet", "branch": "main"}},
    }
    file.write_text(yaml.safe_dump(text))
    (tmp_path / "manifests").mkdir()
    (tmp_path / "fresh").mkdir()
    options = ["--settings", str(file), "--state", str(tmp_path / "fresh"), "--manifests", str(tmp_path / "manifests")]
    return repository, options


def test_a_try_tells_each_step_and_changes_nothing(settings: tuple[Repository, list[str]], tmp_path: Path) -> None:
    repository, options = settings
    commit = repository.push({"shop.yaml": "path: shop\n", "shop/wsgi.py": "application = 1\n"}, "Add the shop")
    done = reconciler("git", "test", "fleet", *options)
    assert done.exit_code == 0, done.output
    told = done.output.splitlines()
    assert told[0].startswith("fetched main in ")
    assert told[0].endswith(f"commit {commit[:7]} “Add the shop”")
    assert told[1:] == [
        "no commit was accepted before",
        "its signature is not required ('signed: no')",
        "files within the limits: 2; manifests that are valid and inside the fence: 1",
        "the commit is accepted",
    ]
    assert list((tmp_path / "fresh").iterdir()) == []


def test_a_try_that_fails_says_why(settings: tuple[Repository, list[str]]) -> None:
    repository, options = settings
    repository.push({"shop.yaml": "path: /etc\n"})
    done = reconciler("git", "test", "fleet", *options)
    assert done.exit_code == 1
    assert "fleet/shop.yaml:1:7: path: leads out of the repository" in done.output


def test_a_try_judges_the_trial_branch_on_top_of_the_newest_commit(settings: tuple[Repository, list[str]]) -> None:
    repository, options = settings
    file = Path(options[1])
    file.write_text(file.read_text().replace("branch: main", "branch: main\n    trial: try/it"))
    first = repository.push({"shop.yaml": "path: shop\n", "shop/wsgi.py": "application = 1\n"})
    tried = repository.commit({"shop/wsgi.py": "application = 2\n"}, "Try it")
    repository.git("push", "-q", "origin", "HEAD:try/it")
    done = reconciler("git", "test", "fleet", *options)
    assert done.exit_code == 0, done.output
    assert f"the trial of try/it would be in force: commit {tried[:7]} “Try it”; files within" in done.output
    repository.git("reset", "-q", "--hard", first)
    repository.push({"shop/wsgi.py": "application = 3\n"})
    done = reconciler("git", "test", "fleet", *options)
    assert done.exit_code == 1
    assert f"the trial of try/it would not be in force: commit {tried[:7]} is not on top of " in done.output


def test_what_apps_take_their_sources_from_is_tried_too(settings: tuple[Repository, list[str]], tmp_path: Path) -> None:
    repository, options = settings
    manifests = tmp_path / "manifests"
    repository.push({"shop/wsgi.py": "application = 1\n"}, "Add the shop")
    (manifests / "shop.yaml").write_text("source: {repository: fleet, branch: main, path: shop}\n")
    done = reconciler("git", "test", "fleet@main", *options)
    assert done.exit_code == 0, done.output
    assert "directories that apps take: 1; their files within the limits: 1" in done.output
    (manifests / "blog.yaml").write_text("source: {repository: fleet, branch: main, path: blog}\n")
    done = reconciler("git", "test", "fleet@main", *options)
    assert done.exit_code == 1
    assert "has no directory 'blog'" in done.output
    assert "no app takes its source from 'fleet@dev'" in reconciler("git", "test", "fleet@dev", *options).output
    assert reconciler("git", "log", "fleet@main", *options).output == "the newest commit that was fetched is in force\n"


def test_a_name_that_no_origin_has_is_told(settings: tuple[Repository, list[str]]) -> None:
    done = reconciler("git", "test", "flet", *settings[1])
    assert "no origin is named 'flet'; 'origins' in the host's settings has fleet" in done.output


def test_doctor_tries_each_origin_and_warns_of_one_that_is_not_signed(settings: tuple[Repository, list[str]]) -> None:
    repository, options = settings
    commit = repository.push({"shop.yaml": "path: shop\n"})
    told = reconciler("doctor", *options).output
    assert f"origin fleet: main is at commit {commit[:7]}, which is accepted" in told
    assert "origin fleet: not signed: every user who can push to it decides what this host runs" in told


@pytest.mark.parametrize("to", ["", "notes"])
def test_doctor_says_whether_reports_of_a_fleet_can_be_read_and_pushed(
    settings: tuple[Repository, list[str]], tmp_path: Path, to: str
) -> None:
    repository, options = settings
    repository.push({"shop.yaml": "path: shop\n", "shop/wsgi.py": "application = 1\n"})
    notes = Repository.at(tmp_path, "notes") if to else repository
    make_key(tmp_path / "host-key")
    file = Path(options[1])
    text = yaml.safe_load(file.read_text())
    text["git"]["repositories"]["fleet"]["report"] = {"sign": {"file": "host-key"}, **({"to": to} if to else {})}
    text["git"]["repositories"]["notes"] = {"url": str(notes.bare), "signed": "no"}
    file.write_text(yaml.safe_dump(text))

    def check() -> dict[str, str]:
        done = json.loads(reconciler("doctor", "--json", *options).stdout)
        (found,) = [each for each in done if each["subject"] == "reports of fleet"]
        return dict(found)

    there = to or "fleet"
    assert check()["found"] == f"0 in the repository {there}; this host may push there"
    refs = notes.git("for-each-ref", "refs/reconciler", at=notes.bare)
    assert refs == "", "nothing was pushed"
    notes.bare.rename(tmp_path / "gone.git")
    found = check()
    assert found["level"] == "warn"
    assert found["found"].startswith("cannot read the reports: there is no repository at this address of ")
    assert found["found"].endswith(f"(repository {there})")
    assert found["advice"].startswith("see 'report' of 'git.repositories.fleet'")
