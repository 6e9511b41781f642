"""docs/howto/fleet.md as its readers do it: commands and files are taken from the page, and real daemons obey them.

Three hosts share a repository behind an SSH server. Of what the page says, only this is other: directories, the address
of the git server, the keys, and times that a test can wait for.
"""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import yaml

from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal
from reconciler.state.schema import open_database
from tests.servers.openssh import SshServer, ssh_server
from tests.support.documents import DOCS, blocks
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.signing import Key, make_key
from tests.support.site import WSGI, Site
from tests.support.store import Store

PAGE = DOCS / "howto" / "fleet.md"
SERVER = "ssh://git@git.example.com/ops"
WITHIN_S = 240.0
WELL_FOR_S = 20.0
BROKEN = 'raise RuntimeError("broken")\n'
TIMES = {"well_for": f"{WELL_FOR_S:g}s", "after": f"{WELL_FOR_S:g}s"}


def block(begin: str, *, holding: str = "", without: str = "\0") -> str:
    """The one block of the page that begins so, holds this, and does not hold that."""
    found = [b.text for b in blocks(PAGE) if b.text.startswith(begin) and holding in b.text and without not in b.text]
    assert len(found) == 1, (begin, found)
    return found[0]


def words(command: str) -> list[str]:
    """The one command of a block of the page."""
    (line,) = block(command).splitlines()
    return shlex.split(line)


def span(begin: str) -> str:
    """What stands between backquotes in the text of the page."""
    (found,) = re.findall(f"`({re.escape(begin)}[^`]*)`", PAGE.read_text(encoding="utf-8"))
    return str(found)


def narrow(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def shape(documented: str) -> "re.Pattern[str]":
    """What a table must look like to be the documented one: commits, durations and widths are those of each run."""
    commit, duration = r"\b[0-9a-f]{7}\b", r"\b(?:\d+[smhd])+\b"
    escaped = re.escape(narrow(documented))
    return re.compile(re.sub(duration, r"[\\dsmhd]+", re.sub(commit, "[0-9a-f]{7}", escaped)))


@dataclass(slots=True)
class Fleet:
    """Hosts that are set up as the page says, and Alice, who signs what she pushes."""

    ssh: SshServer
    repository: Repository
    alice: Key
    sites: dict[str, Site]
    ports: dict[str, int] = field(default_factory=dict)

    def set_up(self, name: str, settings: str) -> None:
        """Make the key of a host, and write its settings: those of the page, and the files that they name."""
        site = self.sites[name]
        at_site = {"/etc/reconciler/": f"{site.root}/", SERVER: self.ssh.url(str(self.repository.bare.parent))}
        command = [word.replace("/etc/reconciler/", f"{site.root}/") for word in words("ssh-keygen ")]
        subprocess.run(command, check=True, capture_output=True)
        for one, other in at_site.items():
            settings = settings.replace(one, other)
        given = yaml.load(settings, yaml.BaseLoader)  # `no` is a word here, as it is to the daemon
        keys = self.ssh.client.parent
        for repository in given["git"]["repositories"].values():
            repository["every"] = "1s"
            copyfile(keys / "key", site.root / repository["key"]["file"])
            (site.root / repository["key"]["file"]).chmod(0o600)
            copyfile(keys / "known", site.root / repository["known_hosts"]["file"])
            if "signers" in repository:
                (site.root / repository["signers"]["file"]).write_text(f"alice@example.com {self.alice.public}\n")
        given["git"]["host"] = name
        self.ports[name] = a_port()
        given["ports"] = {"first": self.ports[name], "last": self.ports[name]}
        (site.root / "host.yaml").write_text(yaml.safe_dump(given))

    def push(self, version: str, fleet: str, after: str = "", message: str = "", **more: Any) -> str:
        """Push an app that answers a version, and a fleet.yaml of the page with these keys and a test's times."""
        given = yaml.safe_load(fleet) | more
        assert given["hosts"].keys() == {"canary1", "web1", "web2"} & given["hosts"].keys() >= self.sites.keys()
        for name, member in given["hosts"].items():
            if "key" in member:
                member["key"] = Key(self.sites[name].root / "host-key").public
        given["waves"] = [{key: TIMES.get(key, value) for key, value in wave.items()} for wave in given["waves"]]
        files: dict[str, str | bytes | None] = {
            "fleet.yaml": yaml.safe_dump(given, sort_keys=False),
            "all/files.yaml": "kind: service\nname: files\ntype: sqlite\n",
            "apps/shop/wsgi.py": WSGI.replace("{version}", version) + after,
        }
        for name in self.sites:
            files[f"hosts/{name}/shop.yaml"] = "path: ../../apps/shop\nprobation: 0s\n"
        return self.repository.push(files, message or f"Answer {version}", key=self.alice)

    def start(self) -> None:
        for site in self.sites.values():
            site.start("--settings", str(site.root / "host.yaml"))

    def serves(self, version: str, *names: str) -> None:
        """Wait until these hosts, or all, serve a version."""
        for name in names or self.sites:
            eventually(self.sites[name].serves("shop", version, self.ports[name]), WITHIN_S)

    def says(self, name: str, *command: str) -> str:
        """What a command of the page prints on a host."""
        assert command[0] == "reconciler"
        done = self.sites[name].cli(*command[1:])
        assert done.returncode == 0, done.stderr
        return narrow(done.stdout)

    def shows(self, name: str, text: str) -> None:
        """Wait until `git hosts`, as the page has it, shows a text on a host."""
        eventually(lambda: text in self.says(name, *words("reconciler git hosts")), WITHIN_S)

    def taken(self, name: str) -> Mapping[str, float]:
        """When each commit was in force first on a host, by the beginning of its id."""
        with closing(open_database(self.sites[name].paths.database, read_only=True)) as database:
            told = [
                each for each in Journal(database).newest(Subject("origin", "fleet"), 1000) if each.kind == "applied"
            ]
        return {event.text.split()[1]: event.at for event in told}

    def references(self, name: str = "fleet") -> list[str]:
        """The references below refs/reconciler/ of a repository on the server."""
        bare = self.repository.bare.with_name(f"{name}.git")
        return self.repository.git("for-each-ref", "--format=%(refname)", "refs/reconciler/", at=bare).split()

    def has_reports_of_all(self, name: str) -> None:
        """Wait until each host has a report in a repository on the server."""
        reports = [f"refs/reconciler/origins/fleet/{host}" for host in sorted(self.sites)]

        def reported() -> bool:
            assert self.references(name) == reports
            return True

        eventually(reported, WITHIN_S)


Made = Callable[..., Fleet]


@pytest.fixture
def a_fleet(tmp_path: Path, store: Store) -> Iterator[Made]:
    with ExitStack() as stack:

        @contextmanager
        def closed(site: Site) -> Iterator[Site]:
            try:
                yield site
            finally:
                site.close()

        def make(*names: str) -> Fleet:
            (tmp_path / "ssh").mkdir()
            ssh = stack.enter_context(ssh_server(tmp_path / "ssh"))
            sites = {}
            for name in names:
                (tmp_path / name).mkdir()
                sites[name] = stack.enter_context(closed(Site.at(tmp_path / name, store)))
            return Fleet(ssh, Repository.at(tmp_path), make_key(tmp_path / "alice"), sites)

        yield make


@pytest.mark.nightly
def test_a_fleet_that_is_set_up_by_the_guide_does_what_the_guide_says(a_fleet: Made) -> None:
    fleet = a_fleet("canary1", "web1", "web2")
    settings = block("git:\n", holding="known_hosts", without="to: ")
    assert settings.count("signed: every\n") == 1
    urgent = span("urgent: [")
    for name in fleet.sites:
        fleet.set_up(name, settings.replace("signed: every\n", f"signed: every\n      {urgent}\n"))
    waves = block("kind: fleet\n", without="gate: ")
    fleet.push("1", waves)
    fleet.start()
    fleet.serves("1")

    fleet.push("2", waves)
    documented = shape(block("HOST "))
    eventually(lambda: documented.fullmatch(fleet.says("web1", *words("reconciler git hosts"))), WITHIN_S)
    fleet.serves("2")
    fleet.has_reports_of_all("fleet")

    bad = fleet.push("3", waves, after=BROKEN)
    fleet.shows("web1", f"commit {bad[:7]} was left again by canary1")
    fleet.serves("2")
    fleet.push("4", waves)
    fleet.serves("4")
    assert [name for name in fleet.sites if bad[:7] in fleet.taken(name)] in ([], ["canary1"])

    fleet.says("canary1", "reconciler", "git", "pause", "fleet", "--because", "the guide says that it counts no more")
    paused = fleet.push("5", waves)
    take = words("reconciler git take ")
    eventually(lambda: fleet.says("web2", *take[:-1], paused), WITHIN_S)
    fleet.serves("5", "web2")
    fleet.serves("4", "canary1", "web1")
    fleet.says("canary1", "reconciler", "git", "resume", "fleet")
    fleet.serves("5")

    frozen = yaml.safe_load(block("freeze: "))
    frozen["freeze"][0].update({"from": "2000-01-01", "to": "9999-12-31"})
    fleet.push("6", waves, **frozen)
    fleet.serves("6")
    fleet.push("7", waves, **frozen)
    fleet.shows("canary1", "freeze")
    fleet.serves("6")
    trailer = span("Reconciler-Urgent: ").replace("REASON", "it does not wait")
    fleet.push("8", waves, message=f"Answer 8\n\n{trailer}\n", **frozen)
    fleet.serves("8")


@pytest.mark.nightly
def test_reports_go_to_the_repository_that_the_guide_names_for_them(a_fleet: Made) -> None:
    fleet = a_fleet("canary1", "web1", "web2")
    settings = block("git:\n", holding="to: fleet-reports")
    origins = block("git:\n", without="to: ").partition("  host: web1\n")[2]
    Repository.at(fleet.repository.bare.parent, "fleet-reports")
    for name in fleet.sites:
        fleet.set_up(name, f"{settings}{origins}")
    waves = block("kind: fleet\n", without="gate: ")
    fleet.push("1", waves)
    fleet.start()
    fleet.serves("1")
    fleet.push("2", waves)
    fleet.shows("web1", "waits for canary")
    fleet.serves("2")
    assert fleet.references() == []
    fleet.has_reports_of_all("fleet-reports")


@pytest.mark.nightly
def test_without_the_right_to_push_a_later_host_waits_as_long_as_the_guide_says(a_fleet: Made) -> None:
    fleet = a_fleet("canary1", "web1")
    settings = re.sub(r"\n +report: .*", "", block("git:\n", without="to: "))
    for name in fleet.sites:
        fleet.set_up(name, settings)
    waves = block("kind: fleet\n", holding="gate: time")
    fleet.push("1", waves)
    fleet.start()
    fleet.serves("1")
    second = fleet.push("2", waves)
    fleet.serves("2")
    assert fleet.taken("web1")[second[:7]] >= fleet.taken("canary1")[second[:7]] + WELL_FOR_S - 2  # looks are 1 s apart
    assert fleet.references() == []
