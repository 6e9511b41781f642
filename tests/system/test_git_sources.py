"""The source of an app in a git repository, served by a real daemon, whether or not its manifest comes from one."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.site import WSGI, Site, get

SHOP = {"repository": "code", "branch": "main", "path": "shop"}


def code(version: str, directory: str = "shop") -> dict[str, str | bytes | None]:
    return {f"{directory}/wsgi.py": WSGI.replace("{version}", version)}


@pytest.fixture
def repository(site: Site) -> Repository:
    return Repository.at(site.root, "code")


def manifest(site: Site, name: str, port: int, source: dict[str, str], **fields: Any) -> None:
    text = yaml.safe_dump({"source": source, "port": port, "probation": "0s", **fields})
    site.save(site.manifests / f"{name}.yaml", text)


def settings(site: Site, repository: Repository, **more: Any) -> tuple[str, str]:
    """The options of a daemon whose settings name the repository."""
    file = site.root / "host.yaml"
    repositories = {"code": {"url": str(repository.bare), "signed": "no", "every": "1s"}, **more.pop("also", {})}
    file.write_text(yaml.safe_dump({"git": {"repositories": repositories, "host": "web1"}, **more}))
    return "--settings", str(file)


def followed(site: Site) -> dict[str, Any]:
    done = site.cli("git", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 1, found
    first: dict[str, Any] = found[0]
    return first


def actions(site: Site) -> Counter[str]:
    """How often the daemon did each kind of action, whatever came of it."""
    found: Counter[str] = Counter()
    for kind, count in re.findall(
        r'^reconciler_actions_total\{.*action="(\w+)".*\} (\d+)$', site.cli("metrics").stdout, re.MULTILINE
    ):
        found[kind] += int(count)
    return found


def test_an_app_serves_the_branch_that_its_manifest_names_and_each_push_is_a_hand_over(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    first = repository.push(code("1"), "Begin")
    manifest(site, "shop", port, SHOP)
    site.start(*settings(site, repository))
    eventually(site.serves("shop", "1", port), 60)
    with under_load(port) as load:
        second = repository.push(code("2"), "Answer 2")
        eventually(site.serves("shop", "2", port), 60)
        load.await_more(5)
    assert load.failed == {}
    done = site.cli("git", "pull", "code@main", "--wait")
    assert done.returncode == 0, done.stderr
    found = followed(site)
    assert (found["kind"], found["state"], found["in_force"], found["good"]) == ("source", "current", second, second)
    assert site.told("shop")["commit"] == second
    assert f"commit: {first[:7]} → {second[:7]}" in site.cli("releases", "shop").stdout
    told = [text for _, kind, text in site.events("shop") if kind == "source"]
    assert told == [
        f"its source is that of commit {first[:7]} “Begin” of main of code",
        f"its source is that of commit {second[:7]} “Answer 2” of main of code",
    ]


def test_a_revert_returns_every_app_to_the_build_that_exists_and_installs_nothing(
    site: Site, repository: Repository
) -> None:
    ports = {name: a_port() for name in ("shop", "blog")}
    repository.push({**code("1"), **code("1", "blog")})
    for name, port in ports.items():
        manifest(site, name, port, SHOP | {"path": name})
    site.start(*settings(site, repository))
    for name, port in ports.items():
        eventually(site.serves(name, "1", port), 60)
    repository.push({**code("2"), **code("2", "blog")})
    for name, port in ports.items():
        eventually(site.serves(name, "2", port), 60)
    before, staged = actions(site), {name: site.paths.log(name, "staging").read_text() for name in ports}
    repository.git("revert", "--no-edit", "HEAD")
    repository.git("push", "-q", "origin", "HEAD:main")
    for name, port in ports.items():
        eventually(site.serves(name, "1", port), 60)
    assert actions(site)["stage"] == before["stage"]
    assert {name: site.paths.log(name, "staging").read_text() for name in ports} == staged


def test_a_commit_that_touches_one_app_of_many_is_one_look_at_one_source(site: Site, repository: Repository) -> None:
    names = [f"app{n}" for n in range(8)]
    repository.push({file: text for name in names for file, text in code("1", name).items()})
    for name in names:
        manifest(site, name, a_port(), SHOP | {"path": name}, start="lazy")
    site.start(*settings(site, repository))
    eventually(lambda: all(site.told(name)["state"] == "sleeping" for name in names), 90)
    before = actions(site)
    repository.push(code("2", "app3"))
    assert site.cli("git", "pull", "code@main", "--wait").returncode == 0
    eventually(lambda: actions(site)["stage"] == before["stage"] + 1, 30)
    assert actions(site)["read_source"] == before["read_source"] + 1
    told = [app for app, kind, text in site.events() if kind == "source" and "its source is" in text]
    assert Counter(told) == Counter([*names, "app3"])


def test_what_serves_stays_while_the_repository_is_away_also_for_the_next_daemon(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    repository.push(code("1"))
    manifest(site, "shop", port, SHOP)
    options = settings(site, repository)
    daemon = site.start(*options)
    eventually(site.serves("shop", "1", port), 60)
    before = site.pid("shop")
    daemon.kill()
    daemon.wait()
    away = repository.bare.rename(repository.bare.with_name("away"))
    site.start(*options)
    eventually(lambda: followed(site)["state"] == "unreachable", 60)
    eventually(lambda: site.told("shop")["state"] == "running")
    assert (get(port), site.pid("shop")) == ("1", before)
    manifest(site, "shop", port, SHOP | {"branch": "never"})
    eventually(lambda: "never of code" in site.told("shop")["message"], 60)
    assert (get(port), site.pid("shop")) == ("1", before)
    manifest(site, "shop", port, SHOP)
    away.rename(repository.bare)
    repository.push(code("2"))
    assert site.cli("git", "pull", "code@main").returncode == 0
    eventually(site.serves("shop", "2", port), 60)


def test_a_source_that_is_not_there_is_told_with_the_commit_and_an_edit_mends_it(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    commit = repository.push(code("1"))
    manifest(site, "shop", port, SHOP | {"path": "shpo"})
    site.start(*settings(site, repository))
    eventually(lambda: site.told("shop")["state"] == "failing", 60)
    assert f"commit {commit[:7]} has no directory 'shpo'" in site.told("shop")["message"]
    done = site.cli("wait", "shop", "--timeout", "20s")
    assert done.returncode == 1
    assert "has no directory 'shpo'" in done.stdout + done.stderr
    manifest(site, "shop", port, SHOP)
    eventually(site.serves("shop", "1", port), 60)


def test_an_operators_stop_outlasts_the_commits_of_the_source(site: Site, repository: Repository) -> None:
    port = a_port()
    repository.push(code("1"))
    manifest(site, "shop", port, SHOP)
    site.start(*settings(site, repository))
    eventually(site.serves("shop", "1", port), 60)
    assert site.cli("stop", "shop").returncode == 0
    eventually(lambda: site.told("shop")["state"] == "stopped")
    commit = repository.push(code("2"))
    site.cli("git", "pull", "code@main")
    eventually(lambda: followed(site)["in_force"] == commit, 30)
    assert site.told("shop")["state"] == "stopped"
    assert site.cli("start", "shop").returncode == 0
    eventually(site.serves("shop", "2", port), 60)


def test_apply_fetches_the_source_without_a_daemon_and_plan_needs_no_network(
    site: Site, repository: Repository
) -> None:
    port = a_port()
    repository.push(code("1"))
    manifest(site, "shop", port, SHOP)
    options = settings(site, repository)
    planned = site.cli("plan", *options)
    assert "main of code is not fetched yet" in planned.stdout + planned.stderr
    done = site.cli("apply", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert get(port) == "1"
    repository.bare.rename(repository.bare.with_name("away"))
    planned = site.cli("plan", *options)
    assert planned.returncode == 0, planned.stdout + planned.stderr


def test_validate_says_with_file_and_line_which_repository_is_unknown(site: Site, repository: Repository) -> None:
    manifest(site, "shop", a_port(), SHOP | {"repository": "cod"})
    done = site.cli("validate", *settings(site, repository))
    assert done.returncode == 1
    assert re.search(
        r"shop\.yaml:\d+:\d+: source.repository: no repository is named 'cod'; did you mean 'code'\?",
        done.stdout + done.stderr,
    )


def test_the_fence_of_an_origin_says_which_repositories_its_manifests_may_name(
    site: Site, repository: Repository
) -> None:
    port, fleet = a_port(), Repository.at(site.root, "fleet")
    repository.push(code("1"))
    fleet.push({"shop.yaml": yaml.safe_dump({"source": SHOP, "probation": "0s"})})
    also = {"fleet": {"url": str(fleet.bare), "signed": "no", "every": "1s"}}
    origin: dict[str, Any] = {"repository": "fleet", "branch": "main"}
    ports = {"first": port, "last": port}
    daemon = site.start(*settings(site, repository, also=also, origins={"fleet": origin}, ports=ports))
    eventually(lambda: followed(site)["state"] == "refused", 60)
    told = "shop.yaml:5:15: source.repository: the origin may not use the repository 'code' (may.repositories: [])"
    assert told in followed(site)["message"]
    site.end(daemon)
    origin["may"] = {"repositories": ["code"]}
    site.start(*settings(site, repository, also=also, origins={"fleet": origin}, ports=ports))
    eventually(site.serves("shop", "1", port), 60)


def test_what_nothing_names_any_more_is_followed_no_more(site: Site, repository: Repository) -> None:
    port = a_port()
    repository.push(code("1"))
    manifest(site, "shop", port, SHOP)
    site.start(*settings(site, repository))
    eventually(site.serves("shop", "1", port), 60)
    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: json.loads(site.cli("git", "--json").stdout) == [], 60)
    assert Path(site.paths.source("code@main")).is_dir()
