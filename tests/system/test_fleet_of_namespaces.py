"""Twenty real daemons, each in a network of its own, on one git server over https, in stories of kills and cut wires.

`RECONCILER_STORIES` says how many, and `RECONCILER_SEED` which: without it, each run tells others, and says which.
"""

import os
import random
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal
from reconciler.state.schema import open_database
from tests.fakes.authority import Authority, made_in
from tests.servers.git_http import GitServer, git_server
from tests.support.eventually import eventually
from tests.support.namespaces import SERVER, Namespaces, namespaces
from tests.support.repository import Repository
from tests.support.signing import Key, make_key
from tests.support.site import WSGI, Site
from tests.support.store import Store

TOKEN = "tok-of-the-fleet"
NAMES = (*(f"canary{n}" for n in range(3)), *(f"early{n}" for n in range(5)), *(f"web{n}" for n in range(12)))
WELL_FOR_S = 4.0
WAVES = [{"name": ring, "hosts": {"ring": ring}, "well_for": f"{WELL_FOR_S:g}s"} for ring in ("canary", "early")]
STORIES = int(os.environ.get("RECONCILER_STORIES", "12"))
WITHIN_S = 600.0


@dataclass(slots=True, kw_only=True)
class InNamespace(Site):
    """A site whose daemon runs in a network of its own."""

    words: list[str] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        given = Site.command(self, *words)
        return [*self.words, *given] if words[0] == "run" else given


@dataclass(slots=True)
class Fleet:
    repository: Repository
    nets: Namespaces
    sites: dict[str, InNamespace]
    keys: dict[str, Key]
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def push(self, version: str) -> str:
        hosts = {name: {"ring": name.rstrip("0123456789"), "key": self.keys[name].public} for name in NAMES}
        fleet = {"kind": "fleet", "hosts": hosts, "waves": [*WAVES, {"name": "rest", "at_once": "50%"}]}
        files = {
            "all/shop.yaml": "path: ../apps/shop\nstart: lazy\n",
            "apps/shop/wsgi.py": WSGI.replace("{version}", version),
            "fleet.yaml": yaml.safe_dump({**fleet, "silent_after": "10m"}, sort_keys=False),
        }
        return self.repository.push(dict(files), version)

    def start(self, name: str) -> None:
        self.running[name] = self.sites[name].execute("--settings", str(self.sites[name].root / "host.yaml"))

    def kill(self, name: str) -> None:
        daemon = self.running.pop(name)
        self.sites[name].end(daemon, 9)
        self.sites[name].daemons.remove(daemon)

    def in_force(self, name: str) -> str:
        link = self.sites[name].paths.current("fleet")
        return link.readlink().name if link.is_symlink() else ""

    def taken(self, name: str) -> Mapping[str, float]:
        """When each commit was in force first on a host, by the beginning of its id."""
        found: dict[str, float] = {}
        with closing(open_database(self.sites[name].paths.database)) as database:
            for event in reversed(Journal(database).newest(Subject("origin", "fleet"), 1000)):
                if event.kind == "applied":
                    found.setdefault(event.text.split()[1], event.at)
        return found


@contextmanager
def a_fleet(root: Path, store: Store) -> Iterator[Fleet]:
    with ExitStack() as stack:
        nets = stack.enter_context(namespaces(len(NAMES)))
        repository, authority = Repository.at(root), made_in(root, SERVER)
        repository.git("config", "http.receivepack", "true", at=repository.bare)
        with nets.at_the_hub():
            server = stack.enter_context(git_server(root, authority.serving, TOKEN, SERVER))
        (root / "token").write_text(TOKEN)
        keys = {name: make_key(root / f"{name}-key") for name in NAMES}
        sites = {}
        for number, name in enumerate(NAMES):
            (root / name).mkdir()
            sites[name] = InNamespace(root=root / name, words=nets.words(number))
            Site.at(root / name, store)  # the directories
            stack.callback(sites[name].close)
            settings_of(sites[name], name, server, authority, keys[name])
        yield Fleet(repository, nets, sites, keys)


def settings_of(site: Site, name: str, server: GitServer, authority: Authority, key: Key) -> None:
    fleet = {
        "url": server.url(host=SERVER),
        "ca": str(authority.certificate),
        "token": {"file": str(site.root.parent / "token")},
        "signed": "no",
        "every": "15s",
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
        eventually(lambda: {self.fleet.in_force(name) for name in NAMES} == {self.commits[-1]}, WITHIN_S)


def too_early(taken: Mapping[str, Mapping[str, float]], commits: Sequence[str]) -> list[str]:
    """What was taken before the wave before was well with that very commit for long enough."""
    rings = [[name for name in NAMES if name.startswith(ring)] for ring in ("canary", "early", "web")]
    found = []
    for commit in (each[:7] for each in commits):
        for before, after in pairwise(rings):
            first_s = min((taken[name][commit] for name in after if commit in taken[name]), default=None)
            well_s = [taken[name].get(commit, float("inf")) + WELL_FOR_S for name in before]
            if first_s is not None and first_s < max(well_s):
                found.append(f"{commit}: {before} {well_s}, {after[0]}… {first_s}")
    return found


@pytest.mark.nightly
def test_no_host_of_a_wave_takes_a_commit_before_the_wave_before_was_well_with_it(tmp_path: Path, store: Store) -> None:
    seed = int(os.environ.get("RECONCILER_SEED") or random.SystemRandom().getrandbits(32))
    print(f"RECONCILER_SEED={seed}")
    with a_fleet(tmp_path, store) as fleet:
        commits = [fleet.push("0")]
        for name in NAMES:
            fleet.start(name)
        eventually(lambda: {fleet.in_force(name) for name in NAMES} == {commits[0]}, WITHIN_S)
        story = Story(fleet, random.Random(seed), commits)
        for number in range(STORIES):
            story.tell()
            taken = {name: fleet.taken(name) for name in NAMES}
            assert too_early(taken, commits[1:]) == [], (seed, number)
            reached = sum(commits[-1][:7] in each for each in taken.values())
            print(f"story {number}: {len(commits)} commits, the newest on {reached} hosts")
