"""Twenty real daemons, each in a network of its own, on one git server over https, in stories of kills and cut wires.

A fleet lives through fifty stories, one after the other, and there are four such fleets. From outside, what each host
has in force is watched all the time. `RECONCILER_STORIES` says how many stories a fleet has, and `RECONCILER_SEED`
which: without it, each run tells others, and says which.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal
from reconciler.state.schema import open_database
from tests.fakes.authority import Authority, made_in
from tests.servers.git_http import GitServer, git_server
from tests.support.eventually import eventually
from tests.support.fleet_watch import FleetWatch, Takes
from tests.support.namespaces import SERVER, Namespaces, namespaces
from tests.support.repository import Repository
from tests.support.signing import Key, make_key
from tests.support.site import WSGI, Site
from tests.support.store import Store

TOKEN = "tok-of-the-fleet"
NAMES = (*(f"canary{n}" for n in range(3)), *(f"early{n}" for n in range(5)), *(f"web{n}" for n in range(12)))
FEW = ("canary0", "early0", "web0", "web1")
WELL_FOR_S = 3.0
WAVES = [{"name": ring, "hosts": {"ring": ring}, "well_for": f"{WELL_FOR_S:g}s"} for ring in ("canary", "early")]
FLEETS = 4
STORIES = int(os.environ.get("RECONCILER_STORIES", "50"))
WITHIN_S = 1800.0
# A daemon like any other, but that takes what is pushed at once.
WITHOUT_GATE = """\
import sys
from reconciler.cli.main import main
from reconciler.manifests.git import fleet_member
from reconciler.planning.fleet.gate import Decision

fleet_member.decide = lambda outlook: Decision(take=next(iter(outlook.new), None))
main(sys.argv[1:])
"""


@dataclass(slots=True, kw_only=True)
class InNamespace(Site):
    """A site whose daemon runs in a network of its own."""

    words: list[str] = field(default_factory=list)
    has_gate: bool = True

    def command(self, *words: str) -> list[str]:
        given = Site.command(self, *words)
        if not self.has_gate:
            given = [sys.executable, "-c", WITHOUT_GATE, *given[3:]]
        return [*self.words, *given] if words[0] == "run" else given


@dataclass(slots=True)
class Fleet:
    repository: Repository
    nets: Namespaces
    sites: dict[str, InNamespace]
    keys: dict[str, Key]
    watch: FleetWatch
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def push(self, version: str) -> str:
        hosts = {name: {"ring": name.rstrip("0123456789"), "key": self.keys[name].public} for name in self.sites}
        fleet = {"kind": "fleet", "hosts": hosts, "waves": [*WAVES, {"name": "rest", "at_once": "50%"}]}
        files = {
            "all/shop.yaml": "path: ../apps/shop\nstart: lazy\n",
            "apps/shop/wsgi.py": WSGI.replace("{version}", version),
            "fleet.yaml": yaml.safe_dump({**fleet, "silent_after": "1h"}, sort_keys=False),
        }
        return self.repository.push(dict(files), version)

    def start(self, name: str) -> None:
        self.watch.started(name)
        self.running[name] = self.sites[name].execute("--settings", str(self.sites[name].root / "host.yaml"))

    def kill(self, name: str) -> None:
        daemon = self.running.pop(name)
        self.sites[name].end(daemon, 9)
        self.sites[name].daemons.remove(daemon)
        self.watch.ended(name)

    def in_force(self, name: str) -> str:
        link = self.sites[name].paths.current("fleet")
        return link.readlink().name if link.is_symlink() else ""

    def have(self, commit: str) -> bool:
        """Whether every host has this commit in force."""
        return {self.in_force(name) for name in self.sites} == {commit}

    def too_early(self, commits: Sequence[str]) -> list[str]:
        """What was taken too early, of these commits, whatever part of the hosts' own journals is believed."""
        told = {name: self._told(name, commits) for name in self.sites} if self.watch.too_early(commits) else {}
        return self.watch.too_early(commits, told)

    def _told(self, name: str, commits: Sequence[str]) -> Takes:
        full = {commit[:7]: commit for commit in commits}
        with closing(open_database(self.sites[name].paths.database)) as database:
            applied = [
                each for each in Journal(database).newest(Subject("origin", "fleet"), 1000) if each.kind == "applied"
            ]
        return [(each.at, full[short]) for each in applied if (short := each.text.split()[1]) in full]


@contextmanager
def a_fleet(root: Path, store: Store, names: Sequence[str]) -> Iterator[Fleet]:
    with ExitStack() as stack:
        nets = stack.enter_context(namespaces(len(names)))
        repository, authority = Repository.at(root), made_in(root, SERVER)
        repository.git("config", "http.receivepack", "true", at=repository.bare)
        with nets.at_the_hub():
            server = stack.enter_context(git_server(root, authority.serving, TOKEN, SERVER))
        (root / "token").write_text(TOKEN)
        keys = {name: make_key(root / f"{name}-key") for name in names}
        sites: dict[str, InNamespace] = {}
        for number, name in enumerate(names):
            (root / name).mkdir()
            sites[name] = InNamespace(root=root / name, words=nets.words(number))
            Site.at(root / name, store)  # the directories
            stack.callback(sites[name].close)
            settings_of(sites[name], name, server, authority, keys[name])
        rings = [[name for name in names if name.startswith(ring)] for ring in ("canary", "early", "web")]
        watch = FleetWatch({name: site.paths.current("fleet") for name, site in sites.items()}, rings, WELL_FOR_S)
        stack.enter_context(watch.watching())
        yield Fleet(repository, nets, sites, keys, watch)


def settings_of(site: Site, name: str, server: GitServer, authority: Authority, key: Key) -> None:
    fleet = {
        "url": server.url(host=SERVER),
        "ca": str(authority.certificate),
        "token": {"file": str(site.root.parent / "token")},
        "signed": "no",
        "every": "8s",
        "report": {"sign": {"file": str(key.file)}},
    }
    origins = {"fleet": {"repository": "fleet", "branch": "main", "path": "all"}}
    settings = {"git": {"repositories": {"fleet": fleet}, "host": name}, "origins": origins}
    (site.root / "host.yaml").write_text(yaml.safe_dump(settings))


@dataclass(slots=True)
class Story:
    """A commit or two on the way, with hosts that die and are cut off meanwhile; `commits` are all that were pushed."""

    fleet: Fleet
    chance: random.Random
    commits: list[str]
    dead: set[str] = field(default_factory=set)
    off: set[int] = field(default_factory=set)

    def push(self) -> None:
        self.commits.append(self.fleet.push(str(len(self.commits))))

    def harm(self) -> None:
        """Kill a daemon that runs, or cut off a host."""
        number = self.chance.randrange(len(NAMES))
        if self.chance.random() < 0.5 and NAMES[number] not in self.dead:
            self.dead.add(NAMES[number])
            self.fleet.kill(NAMES[number])
        else:
            self.off.add(number)
            self.fleet.nets.cut(number, off=True)

    def heal(self) -> None:
        for number in self.off:
            self.fleet.nets.cut(number, off=False)
        for name in self.dead:
            self.fleet.start(name)
        self.off.clear()
        self.dead.clear()

    def reached(self, some: Sequence[str]) -> bool:
        """Whether any of these hosts has the newest commit."""
        return self.commits[-1] in {self.fleet.in_force(name) for name in some}

    def tell(self) -> None:
        """Let it happen: harm at once or on the way, a second push while the first is on its way, and an end to all."""
        harms = self.chance.randrange(4)
        for _ in range(self.chance.randrange(harms + 1)):
            self.harm()
            harms -= 1
        self.push()
        healthy = [name for number, name in enumerate(NAMES[:3]) if name not in self.dead and number not in self.off]
        eventually(lambda: not healthy or self.reached(healthy), WITHIN_S)
        for _ in range(harms):
            self.harm()
        if self.chance.random() < 0.4:
            self.push()
        self.heal()
        eventually(lambda: self.fleet.have(self.commits[-1]), WITHIN_S)


@contextmanager
def begun(root: Path, store: Store, names: Sequence[str]) -> Iterator[tuple[Fleet, list[str]]]:
    """A fleet that runs, with the first commit in force everywhere; the list of commits that were pushed."""
    with a_fleet(root, store, names) as fleet:
        commits = [fleet.push("0")]
        for name in names:
            fleet.start(name)
        eventually(lambda: fleet.have(commits[0]), WITHIN_S)
        yield fleet, commits


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(FLEETS))
def test_no_host_of_a_wave_takes_a_commit_before_the_wave_before_was_well_with_it(
    tmp_path: Path, store: Store, number: int
) -> None:
    seed = int(os.environ.get("RECONCILER_SEED") or random.SystemRandom().getrandbits(32))
    print(f"fleet {number}: RECONCILER_SEED={seed}", flush=True)
    with begun(tmp_path, store, NAMES) as (fleet, commits):
        story = Story(fleet, random.Random(seed), commits)
        for told in range(STORIES):
            story.tell()
            assert fleet.too_early(commits[1:]) == [], (seed, told)
            takes = sum(map(len, fleet.watch.takes.values())) - len(NAMES)
            print(f"story {told}: {len(commits) - 1} commits, taken {takes} times", flush=True)


@pytest.mark.nightly
def test_a_host_without_the_gate_is_seen_to_take_a_commit_too_early(tmp_path: Path, store: Store) -> None:
    """The control: what watches a fleet sees that a host does not wait."""
    with begun(tmp_path, store, FEW) as (fleet, commits):
        fleet.kill("web0")
        fleet.sites["web0"].has_gate = False
        fleet.start("web0")
        commits.append(fleet.push("1"))
        eventually(lambda: fleet.have(commits[1]), WITHIN_S)
        found = fleet.too_early(commits[1:])
        assert {each.split()[0] for each in found} == {"web0"}
