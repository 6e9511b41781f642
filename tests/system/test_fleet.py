"""A fleet as the guide describes it: real daemons on one repository, pushes by hand, and what `git hosts` shows."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.documents import DOCS, blocks
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.signing import Key, make_key
from tests.support.site import WSGI, Site, get
from tests.support.store import Store

BROKEN = 'raise RuntimeError("broken")\n'


@dataclass(slots=True)
class Fleet:
    """The sites of the hosts by name, each with the port of its app, and what is pushed to all of them."""

    repository: Repository
    sites: dict[str, Site]
    ports: dict[str, int]
    keys: dict[str, Key]

    def push(self, version: str, after: str = "") -> str:
        """Push an app that answers a version; what follows its code may break it."""
        files = {f"hosts/{n}/shop.yaml": "path: ../../apps/shop\nprobation: 0s\n" for n in self.sites}
        code = WSGI.replace("{version}", version) + after
        return self.repository.push({**files, "apps/shop/wsgi.py": code, "fleet.yaml": self.fleet_yaml()}, version)

    def fleet_yaml(self) -> str:
        """fleet.yaml of the guide, with these hosts, and times that a test can wait for."""
        (shown,) = (b.text for b in blocks(DOCS / "howto" / "fleet.md") if b.text.startswith("kind: fleet\nhosts:\n"))
        fleet = yaml.safe_load(shown)
        first = next(iter(fleet["hosts"].values()))["ring"]
        rings = {name: first if name.startswith("canary") else "web" for name in self.sites}
        fleet["hosts"] = {name: {"ring": rings[name], "key": self.keys[name].public} for name in self.sites}
        fleet["waves"][0]["well_for"] = "3s"
        fleet["silent_after"] = "60s"
        return yaml.safe_dump(fleet, sort_keys=False)

    def start(self, name: str) -> None:
        site = self.sites[name]
        repository = {"url": str(self.repository.bare), "signed": "no", "every": "1s"}
        settings = {
            "ports": {"first": self.ports[name], "last": self.ports[name]},
            "git": {
                "repositories": {"fleet": {**repository, "report": {"sign": {"file": str(self.keys[name].file)}}}},
                "host": name,
            },
            "origins": {"fleet": {"repository": "fleet", "branch": "main", "path": "hosts/{host}"}},
        }
        file = site.root / "host.yaml"
        file.write_text(yaml.safe_dump(settings))
        site.start("--settings", str(file))

    def answers(self) -> dict[str, str]:
        return {name: get(port) for name, port in self.ports.items()}

    def events(self, name: str, kind: str) -> list[str]:
        return [text for _, each, text in self.sites[name].events("origin fleet") if each == kind]


@contextmanager
def a_fleet(root: Path, store: Store, *names: str) -> Iterator[Fleet]:
    with ExitStack() as stack:
        sites = {}
        for name in names:
            (root / name).mkdir()
            sites[name] = Site.at(root / name, store)
            stack.callback(sites[name].close)
        keys = {name: make_key(root / f"{name}-key") for name in names}
        yield Fleet(Repository.at(root), sites, {name: a_port() for name in names}, keys)


@pytest.mark.nightly
def test_a_commit_goes_from_the_canary_to_the_others_and_one_that_fails_there_goes_no_further(
    tmp_path: Path, store: Store
) -> None:
    with a_fleet(tmp_path, store, "canary1", "web1") as fleet:
        follow_the_guide(fleet)


@pytest.mark.nightly
def test_eight_hosts_change_in_order_and_no_client_notices(tmp_path: Path, store: Store) -> None:
    names = [f"canary{n}" for n in range(2)] + [f"web{n}" for n in range(6)]
    with a_fleet(tmp_path, store, *names) as fleet:
        follow_the_guide(fleet, within_s=200)


def follow_the_guide(fleet: Fleet, within_s: float = 90) -> None:
    names = [*fleet.sites]
    fleet.push("1")
    for name in names:
        fleet.start(name)
    for name in names:
        eventually(fleet.sites[name].serves("shop", "1", fleet.ports[name]), within_s)
    with under_load(fleet.ports["canary1"]) as canary, under_load(fleet.ports[names[-1]]) as other:
        bad = fleet.push("2", BROKEN)
        eventually(lambda: any("returned" in text for text in fleet.events("canary1", "failed")), within_s)
        last = fleet.sites[names[-1]]
        told = f"commit {bad[:7]} was left again by canary"
        eventually(lambda: told in last.cli("git", "hosts", "fleet").stdout, within_s)
        assert set(fleet.answers().values()) == {"1"}
        fixed = fleet.push("3")
        for name in names:
            eventually(fleet.sites[name].serves("shop", "3", fleet.ports[name]), within_s)
        canary.await_more(5)
        other.await_more(5)
    assert (canary.failed, other.failed) == ({}, {})
    for name in names:
        ran = {text.split()[1] for text in fleet.events(name, "applied")}
        assert bad[:7] not in ran or name.startswith("canary"), f"{name} had the commit in force that failed"
    rows = json.loads(last.cli("git", "hosts", "fleet", "--json").stdout)
    assert {row["host"]: row["wave"] for row in rows} == {
        n: "canary" if n.startswith("canary") else "rest" for n in names
    }
    assert {row["in_force"] for row in rows if row["is_this_host"]} == {fixed}
