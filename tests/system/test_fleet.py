"""A fleet as docs/howto/fleet.md has it: its commands, settings and fleet.yaml, real daemons, and pushes by hand.

What the page shows is taken from the page. Only addresses, names, files and the lengths of time are those of the test.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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

GUIDE = DOCS / "howto" / "fleet.md"
BROKEN = 'raise RuntimeError("broken")\n'
Document = dict[str, Any]

pytestmark = pytest.mark.nightly


def shown(*has: str) -> str:
    """The one block of the guide that has all of these texts."""
    (found,) = (block for block in blocks(GUIDE) if all(text in block.text for text in has))
    return found.text


def settings_shown(*has: str) -> Document:
    settings: Document = yaml.load(shown("git:", *has), yaml.BaseLoader)  # texts alone, so `no` stays one
    return settings


def spoken(before: str) -> str:
    """What the guide has between backticks, from these words on."""
    (found,) = re.finditer(rf"`({re.escape(before)}[^`]*)`", GUIDE.read_text(encoding="utf-8"))
    return found[1]


def host_key(file: Path) -> Key:
    """Make a host's key by the command of the guide."""
    words = shlex.split(shown("ssh-keygen"))
    subprocess.run([str(file) if word.startswith("/") else word for word in words], check=True, capture_output=True)
    return Key(file)


@dataclass(slots=True)
class Fleet:
    """The sites of the hosts by name, each with the port of its app, and what is pushed to all of them, signed.

    `fleet` is fleet.yaml, and `settings` are those of each host, as the guide has them. `reports` is where they go if
    not to the repository itself.
    """

    repository: Repository
    sites: dict[str, Site]
    ports: dict[str, int]
    keys: dict[str, Key]
    person: Key
    fleet: Document
    settings: Document
    reports: Repository | None = None

    def push(self, version: str, after: str = "", message: str = "") -> str:
        """Push an app that answers a version, and fleet.yaml; what follows its code may break it."""
        return self._push(version, after, message, {"fleet.yaml": yaml.safe_dump(self.fleet, sort_keys=False)})

    def _push(self, version: str, after: str, message: str, more: Mapping[str, str]) -> str:
        app = {"all/shop.yaml": "path: ../apps/shop\nprobation: 0s\n"}
        code = {"apps/shop/wsgi.py": WSGI.replace("{version}", version) + after}
        return self.repository.push({**app, **code, **more}, message or version, key=self.person)

    def begin(self, within_s: float = 90) -> str:
        """Serve a commit everywhere, and then the one that describes the fleet, which waits for nobody; its id."""
        self._push("0", "", "", {})
        for name, site in self.sites.items():
            self._start(name, site)
        self.await_version("0", within_s=within_s)
        commit = self.push("1")
        self.await_version("1", within_s=within_s)
        return commit

    def _start(self, name: str, site: Site) -> None:
        site.save(site.root / "allowed_signers", f"alice@example.com {self.person.public}\n")
        settings = yaml.safe_load(yaml.safe_dump(self.settings))
        for repository, options in settings["git"]["repositories"].items():
            bare = self.reports if repository == "fleet-reports" else self.repository
            assert bare is not None
            options |= {"url": str(bare.bare), "every": "1s"}
            for of_ssh in ("key", "known_hosts"):  # by which no file is reached
                del options[of_ssh]
            if "report" in options:
                options["report"]["sign"] = {"file": str(self.keys[name].file)}
        settings["git"]["host"] = name
        settings["ports"] = {"first": self.ports[name], "last": self.ports[name]}
        site.save(site.root / "host.yaml", yaml.safe_dump(settings))
        site.start("--settings", str(site.root / "host.yaml"))

    def await_version(self, version: str, *names: str, within_s: float = 90) -> None:
        for name in names or self.sites:
            eventually(self.sites[name].serves("shop", version, self.ports[name]), within_s)

    def await_told(self, name: str, told: str, within_s: float = 90) -> None:
        """Wait until a host says this of its commit, in what the guide has people look at."""
        command = shlex.split(shown("reconciler git hosts"))[1:]

        def is_told() -> bool:
            said = self.sites[name].cli(*command).stdout
            assert told in said, said
            return True

        eventually(is_told, within_s)

    def answers(self) -> dict[str, str]:
        return {name: get(port) for name, port in self.ports.items()}

    def events(self, name: str, kind: str) -> list[str]:
        return [text for _, each, text in self.sites[name].events("origin fleet") if each == kind]

    def taken(self, name: str) -> set[str]:
        """The commits that a host ever had in force, shortened."""
        return {text.split()[1] for text in self.events(name, "applied")}

    def reported(self, repository: Repository) -> set[str]:
        """The hosts whose reports are in a repository."""
        refs = repository.git("for-each-ref", "--format=%(refname)", "refs/reconciler/", at=repository.bare)
        return {ref.rpartition("/")[2] for ref in refs.split()}


@contextmanager
def a_fleet(root: Path, store: Store, *names: str) -> Iterator[Fleet]:
    """A fleet of these hosts by the guide, of which none is started."""
    with ExitStack() as stack:
        sites = {}
        for name in names:
            (root / name).mkdir()
            sites[name] = Site.at(root / name, store)
            stack.callback(sites[name].close)
        keys = {name: host_key(root / f"{name}-key") for name in names}
        fleet = yaml.safe_load(shown("kind: fleet\nhosts:\n"))
        first = next(iter(fleet["hosts"].values()))["ring"]
        rings = {name: first if name.startswith("canary") else "web" for name in names}
        fleet["hosts"] = {name: {"ring": rings[name], "key": keys[name].public} for name in names}
        fleet["waves"][0]["well_for"] = "3s"
        fleet["silent_after"] = "60s"
        ports = {name: a_port() for name in names}
        settings = settings_shown("report:", "origins:")
        yield Fleet(Repository.at(root), sites, ports, keys, make_key(root / "person"), fleet, settings)


def test_a_commit_goes_from_the_canary_to_the_others_and_one_that_fails_there_goes_no_further(
    tmp_path: Path, store: Store
) -> None:
    with a_fleet(tmp_path, store, "canary1", "web1") as fleet:
        follow_the_guide(fleet)


def test_eight_hosts_change_in_order_and_no_client_notices(tmp_path: Path, store: Store) -> None:
    names = [f"canary{n}" for n in range(2)] + [f"web{n}" for n in range(6)]
    with a_fleet(tmp_path, store, *names) as fleet:
        follow_the_guide(fleet, within_s=200)


def follow_the_guide(fleet: Fleet, within_s: float = 90) -> None:
    names = [*fleet.sites]
    fleet.begin(within_s)
    with under_load(fleet.ports["canary1"]) as canary, under_load(fleet.ports[names[-1]]) as other:
        bad = fleet.push("2", BROKEN)
        eventually(lambda: any("returned" in text for text in fleet.events("canary1", "failed")), within_s)
        fleet.await_told(names[-1], f"commit {bad[:7]} was left again by canary", within_s)
        assert set(fleet.answers().values()) == {"1"}
        fixed = fleet.push("3")
        fleet.await_version("3", within_s=within_s)
        canary.await_more(5)
        other.await_more(5)
    assert (canary.failed, other.failed) == ({}, {})
    for name in names:
        assert bad[:7] not in fleet.taken(name) or name.startswith("canary"), f"{name} had the commit that failed"
    rows = json.loads(fleet.sites[names[-1]].cli("git", "hosts", "fleet", "--json").stdout)
    assert {row["host"]: row["wave"] for row in rows} == {
        n: "canary" if n.startswith("canary") else "rest" for n in names
    }
    assert {row["in_force"] for row in rows if row["is_this_host"]} == {fixed}
    assert fleet.reported(fleet.repository) == {*names}


def test_git_hosts_shows_what_the_guide_shows_and_take_does_not_wait(tmp_path: Path, store: Store) -> None:
    with a_fleet(tmp_path, store, "canary1", "web1", "web2") as fleet:
        fleet.fleet["waves"][0]["well_for"] = "30s"
        before = fleet.begin()
        newest = fleet.push("2")
        fleet.await_version("2", "canary1")
        fleet.await_told("web1", "well for")
        head, *rows = shown("HOST", "WAVE").splitlines()
        known = {"38c24bf": newest[:7], "d68fe3c": before[:7]}

        def is_as_shown() -> bool:
            told_head, *told_rows = fleet.sites["web1"].cli("git", "hosts").stdout.splitlines()
            assert told_head.split() == head.split()
            for told, row in zip(told_rows, rows, strict=True):
                assert re.fullmatch(shape(row, known), told), f"{told!r} is not like {row!r}"
            return True

        eventually(is_as_shown, 60)
        words = shlex.split(shown("reconciler git take"))[1:]
        fleet.sites["web1"].cli(*(newest[:7] if re.fullmatch("[0-9a-f]{7}", word) else word for word in words))
        fleet.await_version("2", "web1")
        assert any(newest[:7] in text for text in fleet.events("web1", "request"))
        assert not fleet.events("web2", "request")


def shape(row: str, known: dict[str, str]) -> str:
    """The pattern of a line like the one that is shown: with these commits, other widths, and other times."""
    for commit, own in known.items():
        row = row.replace(commit, own)
    pattern = re.sub(r"(\\ )+", " +", re.escape(row))
    pattern = re.sub(r"this +\+host", "this +host", pattern)
    pattern = re.sub(r"\b(\d+[dhms])+ \+ago\b", r"[\\ddhms]+ +ago", pattern)
    return re.sub(r"\b(\d+[dhm])+\b", r"[\\ddhms]+", pattern)


def test_a_freeze_holds_what_is_not_urgent(tmp_path: Path, store: Store) -> None:
    with a_fleet(tmp_path, store, "canary1", "web1") as fleet:
        fleet.begin()
        freeze = yaml.safe_load(shown("freeze:"))
        today = datetime.now(UTC).date()
        freeze["freeze"][0] = {"from": str(today - timedelta(days=1)), "to": str(today + timedelta(days=2))}
        fleet.fleet |= freeze
        fleet.push("2")
        fleet.await_version("2")
        late = fleet.push("3")
        for name in fleet.sites:
            fleet.await_told(name, f"freeze until {today + timedelta(days=2)}")
        assert set(fleet.answers().values()) == {"2"}
        fleet.push("4", message="Close the hole\n\n" + spoken("Reconciler-Urgent:").replace("REASON", "it is open"))
        fleet.await_version("4")
        assert all(late[:7] not in fleet.taken(name) for name in fleet.sites)


def test_reports_go_to_a_repository_of_their_own(tmp_path: Path, store: Store) -> None:
    with a_fleet(tmp_path, store, "canary1", "web1") as fleet:
        fleet.settings["git"]["repositories"] = settings_shown("fleet-reports")["git"]["repositories"]
        fleet.reports = Repository.at(tmp_path, "fleet-reports")
        fleet.begin()
        fleet.push("2")
        fleet.await_version("2")
        assert fleet.reported(fleet.reports) == {*fleet.sites}
        assert fleet.reported(fleet.repository) == set()


def test_a_fleet_by_time_needs_no_reports(tmp_path: Path, store: Store) -> None:
    with a_fleet(tmp_path, store, "canary1", "web1") as fleet:
        fleet.fleet = yaml.safe_load(shown("gate: time"))
        fleet.fleet["waves"][1]["after"] = "15s"
        for options in fleet.settings["git"]["repositories"].values():
            del options["report"]
        fleet.begin()
        with under_load(fleet.ports["web1"]) as load:
            fleet.push("2")
            fleet.await_version("2", "canary1")
            eventually(lambda: "wave 2 of 2 (rest)" in fleet.sites["web1"].cli("git").stdout)
            fleet.await_version("2", "web1")
        assert load.failed == {}
        assert fleet.reported(fleet.repository) == set()
