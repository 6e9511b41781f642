"""Manifests from a git repository, served by a real daemon: a push is all that anybody does."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
import yaml

from tests.fakes.authority import made_in
from tests.fakes.forge import forge
from tests.fakes.post_office import webhook
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.site import WSGI, Site, get
from tests.support.web import fetch


def app(name: str, version: str = "1", **fields: object) -> dict[str, str | bytes | None]:
    """The files of an app that answers `version`: its manifest in the directory of this host, and its code."""
    manifest = yaml.safe_dump({"path": f"../../apps/{name}", "probation": "0s", **fields})
    return {f"hosts/web1/{name}.yaml": manifest, f"apps/{name}/wsgi.py": WSGI.replace("{version}", version)}


@pytest.fixture
def repository(site: Site) -> Repository:
    return Repository.at(site.root)


def settings(site: Site, repository: Repository, port: int, api: object = None, **options: object) -> Path:
    """The settings of a host that follows the repository, and whose range of ports holds this one alone."""
    file = site.root / "host.yaml"
    fleet = {"url": str(repository.bare), "signed": "no", "every": "1s", **options}
    file.write_text(
        yaml.safe_dump(
            {
                "ports": {"first": port, "last": port},
                "git": {"repositories": {"fleet": fleet}, "host": "web1"},
                **({} if api is None else {"api": api}),
                "origins": {"fleet": {"repository": "fleet", "branch": "main", "path": "hosts/{host}"}},
            }
        )
    )
    return file


def origin(site: Site) -> dict[str, object]:
    """The origin's line of `git --json`."""
    (found,) = json.loads(site.cli("git", "--json").stdout)
    assert isinstance(found, dict)
    return found


def last_told(site: Site) -> tuple[str, str]:
    """The commit, and how it fares, of the last status that is on record as told to the git server."""
    status = json.loads(site.fact("status told of fleet") or "{}")["told"]["status"]
    return status["commit"], status["state"]


def test_a_push_is_served_and_no_request_is_refused_when_the_next_one_comes(site: Site, repository: Repository) -> None:
    port = a_port()
    first = repository.push(app("shop", "1"), "Add the shop")
    site.start("--settings", str(settings(site, repository, port)))
    eventually(site.serves("shop", "1", port), 60)
    with under_load(port) as load:
        second = repository.push(app("shop", "2"), "Answer 2")
        eventually(site.serves("shop", "2", port), 60)
        load.await_more(5)
    assert load.failed == {}
    done = site.cli("git", "pull", "fleet", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"fleet: commit {second[:7]} is in force, and its apps are up to date"
    found = origin(site)
    assert (found["state"], found["head"], found["in_force"], found["good"]) == ("current", second, second, second)
    screen = site.cli("status").stdout
    assert f"fleet   current  {second[:7]}   {second[:7]}" in screen
    assert "not signed" in screen
    releases = json.loads(site.cli("releases", "shop", "--json").stdout)["releases"]
    assert [(each["commit"], each["cause"]) for each in releases] == [
        (second, f"its source changed (commit {second[:7]} “Answer 2”)"),
        (first, f"first release (commit {first[:7]} “Add the shop”)"),
    ]
    told = [(kind, text.partition(" “")[0]) for _, kind, text in site.events("origin fleet")]
    assert told == [
        ("fetched", f"main is at commit {first[:7]}"),
        ("accepted", f"commit {first[:7]}"),
        ("applied", f"commit {first[:7]}"),
        ("fetched", f"main is at commit {second[:7]}"),
        ("accepted", f"commit {second[:7]}"),
        ("applied", f"commit {second[:7]}"),
    ]


def test_a_bad_push_stops_nothing_and_pull_says_why(site: Site, repository: Repository) -> None:
    port = a_port()
    good = repository.push(app("shop"))
    site.start("--settings", str(settings(site, repository, port)))
    eventually(site.serves("shop", "1", port), 60)
    before = site.pid("shop")
    repository.push(app("shop", "2", wrokers=2))
    done = site.cli("git", "pull", "--wait")
    assert done.returncode == 1
    assert "Error: fleet is refused: fleet/hosts/web1/shop.yaml:3:1: wrokers: unknown field 'wrokers'" in done.stderr
    assert f"commit {good[:7]} stays in force" in done.stderr
    assert site.cli("status", "--check").returncode == 1
    assert get(port) == "1"
    assert site.pid("shop") == before
    repository.push(app("shop", "3"))
    done = site.cli("git", "pull", "--wait")
    assert done.returncode == 0, done.stderr
    assert get(port) == "3"


def test_a_daemon_that_is_killed_leaves_the_apps_and_the_next_one_carries_on(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    repository.push(app("shop"))
    file = str(settings(site, repository, port))
    daemon = site.start("--settings", file)
    eventually(site.serves("shop", "1", port), 60)
    before = site.pid("shop")
    daemon.kill()
    daemon.wait()
    repository.git("checkout", "-q", "--detach")
    commit = repository.push(app("shop", "2"))
    repository.bare.rename(repository.bare.with_name("away"))
    site.start("--settings", file)
    eventually(lambda: origin(site)["state"] == "unreachable", 60)
    assert get(port) == "1"
    assert site.pid("shop") == before
    assert "no repository at this address" in site.cli("git").stdout
    repository.bare.with_name("away").rename(repository.bare)
    site.cli("git", "pull")
    eventually(site.serves("shop", "2", port), 60)
    assert origin(site)["in_force"] == commit


def test_a_state_database_that_is_lost_stops_no_app_and_the_commit_in_force_stays_known(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    commit = repository.push(app("shop"))
    file = str(settings(site, repository, port))
    daemon = site.start("--settings", file)
    eventually(site.serves("shop", "1", port), 60)
    eventually(lambda: origin(site)["good"] == commit, 60)
    before = site.pid("shop")
    daemon.kill()
    daemon.wait()
    for path in site.paths.state.glob(f"{site.paths.database.name}*"):
        path.unlink()
    with under_load(port) as load:
        site.start("--settings", file)
        eventually(lambda: origin(site)["in_force"] == commit, 60)
        assert site.pid("shop") == before
        newest = repository.push(app("shop", "2"))
        eventually(site.serves("shop", "2", port), 60)
        load.await_more(5)
    assert load.failed == {}
    eventually(lambda: (origin(site)["state"], origin(site)["good"]) == ("current", newest), 60)


def test_a_pull_that_fetches_nothing_says_so_though_all_is_as_it_was(site: Site, repository: Repository) -> None:
    port = a_port()
    repository.push(app("shop"))
    site.start("--settings", str(settings(site, repository, port, every="1h")))
    eventually(site.serves("shop", "1", port), 60)
    assert site.cli("git", "pull", "--wait").returncode == 0
    repository.bare.rename(repository.bare.with_name("away"))
    done = site.cli("git", "pull", "--wait")
    assert done.returncode == 1
    assert "Error: fleet was not fetched: there is no repository at this address" in done.stderr
    repository.bare.with_name("away").rename(repository.bare)
    assert site.cli("git", "pull", "--wait").returncode == 0


def test_apply_puts_the_newest_commit_in_force_without_a_daemon(site: Site, repository: Repository) -> None:
    port = a_port()
    repository.push(app("shop"))
    done = site.cli("apply", "--settings", str(settings(site, repository, port)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert get(port) == "1"


def test_a_branch_is_served_without_a_settings_file(site: Site, repository: Repository) -> None:
    port = a_port()
    commit = repository.push(app("shop", "1", port=port))
    file = site.root / "host.yaml"
    file.write_text(f"ports: {{first: {port}, last: {port}}}\n")
    url = f"git+file://{repository.bare}@main#subdirectory=hosts/web1"
    site.start("--manifests", url, "--settings", str(file))
    eventually(site.serves("shop", "1", port), 60)
    assert origin(site)["in_force"] == commit
    assert "not signed" in site.cli("status").stdout
    assert site.cli("git", "test", "fleet").returncode == 0
    second = repository.push(app("shop", "2", port=port))
    done = site.cli("git", "pull", "--wait")
    assert done.returncode == 0, done.stderr
    assert (origin(site)["in_force"], get(port)) == (second, "2")


def test_a_commit_whose_app_cannot_start_is_left_again_without_a_failed_request(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    good = repository.push(app("shop", "1"))
    site.start("--settings", str(settings(site, repository, port)))
    eventually(site.serves("shop", "1", port), 60)
    eventually(lambda: origin(site)["good"] == good, 60)
    with under_load(port) as load:
        bad = repository.push({**app("shop", "2"), "apps/shop/wsgi.py": f"{WSGI}\nraise RuntimeError('broken')\n"})
        eventually(lambda: origin(site)["state"] == "returned", 120)
        load.await_more(5)
    assert load.failed == {}
    found = origin(site)
    assert (found["head"], found["in_force"], found["good"]) == (bad, good, good)
    assert f"commit {bad[:7]} was left again, as its apps failed (shop: " in str(found["message"])
    fixed = repository.push(app("shop", "3"))
    done = site.cli("git", "pull", "--wait")
    assert done.returncode == 0, done.stderr
    assert (origin(site)["in_force"], get(port)) == (fixed, "3")


def test_a_push_is_served_once_the_webhook_is_called(site: Site, repository: Repository) -> None:
    port, api_port = a_port(), a_port()
    repository.push(app("shop", "1"))
    for name in ("token", "hook"):
        (site.root / name).write_text(f"a long random word for the {name}\n")
    api = {"address": f"127.0.0.1:{api_port}", "token": {"file": "token"}}
    hook = {"secret": {"file": "hook"}}
    site.start("--settings", str(settings(site, repository, port, api, every="1h", webhook=hook)))
    eventually(site.serves("shop", "1", port), 60)
    assert webhook_check(site) == "it was never called"
    commit = repository.push(app("shop", "2"))
    body = json.dumps({"ref": "refs/heads/main", "after": commit})
    digest = hmac.new(b"a long random word for the hook", body.encode(), hashlib.sha256).hexdigest()
    answer = fetch(api_port, "/hooks/fleet", "POST", body, {"X-Forgejo-Signature": digest})
    assert (answer.status, answer.body) == (202, "")
    eventually(site.serves("shop", "2", port), 60)
    assert origin(site)["webhook"]["called_at"] is not None  # type: ignore[index]
    assert fetch(api_port, "/hooks/fleet", "POST", f"{body} ", {"X-Forgejo-Signature": digest}).status == 401
    assert webhook_check(site) == "the git server calls it"
    figures = fetch(api_port, "/metrics", headers={"Authorization": "Bearer a long random word for the token"})
    assert 'reconciler_webhooks_refused_total{repository="fleet"} 1\n' in figures.body


@pytest.mark.nightly
def test_a_hundred_pushes_in_a_row_each_with_its_webhook_lose_no_request(site: Site, repository: Repository) -> None:
    port, api_port = a_port(), a_port()
    repository.push(app("shop", "0"))
    for name in ("token", "hook"):
        (site.root / name).write_text(f"a long random word for the {name}\n")
    api = {"address": f"127.0.0.1:{api_port}", "token": {"file": "token"}}
    hook = {"secret": {"file": "hook"}}
    site.start("--settings", str(settings(site, repository, port, api, every="1h", webhook=hook)))
    eventually(site.serves("shop", "0", port), 60)
    bearer = {"Authorization": "Bearer a long random word for the hook"}
    with under_load(port) as load:
        for number in range(1, 101):
            repository.push(app("shop", str(number)), f"Answer {number}")
            assert fetch(api_port, "/hooks/fleet", "POST", "", bearer).status == 202
            eventually(site.serves("shop", str(number), port), 60)
        load.await_more(5)
    assert load.failed == {}


def webhook_check(site: Site) -> str:
    """What `doctor` finds of the webhook."""
    (found,) = [each for each in json.loads(site.cli("doctor", "--json").stdout) if each["subject"] == "webhook fleet"]
    return str(found["found"])


def test_a_plan_for_a_commit_shows_what_a_review_would_do_and_does_nothing(site: Site, repository: Repository) -> None:
    port = a_port()
    good = repository.push(app("shop"))
    site.start("--settings", str(settings(site, repository, port)))
    eventually(site.serves("shop", "1", port), 60)
    eventually(lambda: origin(site)["good"] == good, 60)
    assert site.cli("plan", "--commit", good[:8]).returncode == 0
    repository.commit(app("shop", "2", threads=2), "Answer 2")
    repository.git("push", "-q", "origin", "HEAD:review")
    done = site.cli("plan", "--commit", "review", "--diff")
    assert done.returncode == 2, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first.endswith("“Answer 2” would be accepted")
    assert any(line.startswith("shop: ") for line in lines)
    assert any("threads" in line for line in lines), done.stdout
    assert any('return [b"2"]' in line for line in lines), done.stdout
    repository.commit(app("shop", "3", wrokers=2))
    repository.git("push", "-q", "origin", "HEAD:review")
    done = site.cli("plan", "--commit", "review", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["commit"]
    assert (found["ruling"], found["origin"]) == ("refused", "fleet")
    assert "fleet/hosts/web1/shop.yaml:3:1: wrokers: unknown field" in found["message"]
    assert "no branch or tag 'gone'" in site.cli("plan", "--commit", "gone").stderr
    assert (get(port), origin(site)["in_force"]) == ("1", good)


def test_the_git_server_shows_how_each_commit_fares_and_the_token_is_nowhere(
    site: Site, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    port, authority, token = a_port(), made_in(site.root), "tok-statuses-very-secret"
    (site.root / "token").write_text(token)
    good = repository.push(app("shop", "1"))
    with forge(authority.serving) as server:
        statuses = {"forge": "github", "api": server.url, "project": "ops/fleet", "token": {"file": "token"}}
        file = settings(site, repository, port, ca=str(authority.certificate), statuses=statuses)
        daemon = site.start("--settings", str(file))
        eventually(lambda: server.states()[-1:] == [(good, "success")], 60)
        bad = repository.push(app("shop", "2", wrokers=2))
        eventually(lambda: server.states()[-1:] == [(bad, "failure")], 60)
        told = [body["description"] for _, _, body in server.asked]
        assert told[-1].startswith("fleet/hosts/web1/shop.yaml:3:1: wrokers: unknown field 'wrokers'")
        path, headers, body = server.asked[-1]
        assert path == f"/api/v3/repos/ops/fleet/statuses/{bad}"
        assert (headers["Authorization"], body["context"]) == (f"Bearer {token}", "reconciler/web1")
        eventually(lambda: last_told(site) == (bad, "failure"))  # a kill before that has it told once more
        daemon.kill()
        daemon.wait()
        asked = len(server.asked)
        site.start("--settings", str(file))
        fixed = repository.push(app("shop", "3"))
        eventually(lambda: server.states()[-1:] == [(fixed, "success")], 60)
        assert {commit for commit, _ in server.states()[asked:]} == {fixed}, "nothing is told twice"
    found = [path for path in site.paths.state.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert found == []
    assert token not in site.cli("events", "--json").stdout + site.cli("status", "--json").stdout


def test_targets_are_notified_of_a_commit_that_is_not_in_force_and_of_its_end(
    site: Site, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    port = a_port()
    with webhook() as target:
        file = settings(site, repository, port)
        told = {"notify": {"every": "0s", "delay": "0s"}, "notifications": [{"to": "webhook", "url": target.url}]}
        file.write_text(file.read_text() + yaml.safe_dump(told))
        repository.push(app("shop", "1"))
        site.start("--settings", str(file))
        eventually(site.serves("shop", "1", port), 60)
        repository.push(app("shop", "2", wrokers=2))
        eventually(
            lambda: [each["text"].partition(": ")[2] for each in target.taken] == ["origin fleet is degraded"], 60
        )
        assert "fleet/hosts/web1/shop.yaml:3:1: wrokers" in target.taken[0]["items"][0]["message"]
        repository.push(app("shop", "3"))
        eventually(lambda: target.taken[-1]["text"].endswith(": origin fleet is healthy again"), 60)
