"""Twenty real daemons, each in a network of its own, on one git server over https: three waves, kills and cut wires."""

import random
import subprocess
from collections.abc import Iterator, Mapping
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
WAVES = [{"name": ring, "hosts": {"ring": ring}, "well_for": "4s"} for ring in ("canary", "early")]
PUSHES = 1
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


@pytest.mark.nightly
def test_no_host_of_a_wave_takes_a_commit_before_the_wave_before_was_well_with_it(tmp_path: Path, store: Store) -> None:
    chance = random.Random(20)
    with a_fleet(tmp_path, store) as fleet:
        commits = [fleet.push("0")]
        for name in NAMES:
            fleet.start(name)
        eventually(lambda: {fleet.in_force(name) for name in NAMES} == {commits[0]}, WITHIN_S)
        for number in range(1, PUSHES + 1):
            off, dead = chance.sample(range(3, len(NAMES)), 2)
            fleet.nets.cut(off, off=True)
            fleet.kill(NAMES[dead])
            commits.append(fleet.push(str(number)))
            eventually(lambda: {fleet.in_force(name) for name in NAMES[:3]} == {commits[-1]}, WITHIN_S)
            fleet.nets.cut(off, off=False)
            fleet.start(NAMES[dead])
            eventually(lambda: {fleet.in_force(name) for name in NAMES} == {commits[-1]}, WITHIN_S)
        taken = {name: fleet.taken(name) for name in NAMES}
    rings = [[name for name in NAMES if name.startswith(ring)] for ring in ("canary", "early", "web")]
    for commit in (each[:7] for each in commits[1:]):
        for before, after in pairwise(rings):
            proven_s = max(taken[name][commit] for name in before) + 4.0
            assert min(taken[name][commit] for name in after) >= proven_s, commit
