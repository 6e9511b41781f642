"""What the daemon and its state directory take up: measured now and then, and held against what there should be."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from reconciler.linux.process_table import proportional
from reconciler.serving.marks import marked
from tests.support.site import Site

# Of each app that serves: its build and the one before, in case; the same of configurations.
_MOST_KEPT = 2
# What may come and go between two looks at a daemon that does the same work: a connection, a file being read.
_FDS_TO_SPARE = 6
_GROWTH = 1.25
_GROWTH_TO_SPARE = 6 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The daemon at one moment: descriptors, memory, threads, zombies; beside it all processes, files, the database."""

    minute: float
    pid: int
    descriptors: int
    memory: int
    threads: int
    zombies: int
    processes: int
    files: int
    database: int


def look(site: Site, pid: int, minute: float) -> Look:
    """Measure now; the figures of a daemon that is gone are 0."""
    try:
        daemon = psutil.Process(pid)
        children = daemon.children()
        zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in children if child.is_running())
        descriptors, threads = daemon.num_fds(), daemon.num_threads()
    except psutil.Error:
        descriptors = threads = zombies = 0
    return Look(
        minute=minute,
        pid=pid,
        descriptors=descriptors,
        memory=proportional(pid),
        threads=threads,
        zombies=zombies,
        processes=len(ours(site)),
        files=sum(1 for _ in _files(site.state)),
        database=sum(place.stat().st_size for place in site.state.glob("reconciler.db*")),
    )


def ours(site: Site) -> list[int]:
    """Every process that was started below the site, by pid: apps, warm templates, the keeper, the daemon."""
    here = f"{site.root}/".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                told = Path(entry.path, "cmdline").read_bytes() + Path(entry.path, "environ").read_bytes()
            except OSError:
                continue
            if here in told:
                found.append(int(entry.name))
    return found


def grown(before: Look, after: Look) -> list[str]:
    """What one daemon took more and more of, between two looks at it under the same load."""
    found = []
    if after.descriptors > before.descriptors + _FDS_TO_SPARE:
        found.append(f"descriptors from {before.descriptors} to {after.descriptors}")
    if after.memory > before.memory * _GROWTH + _GROWTH_TO_SPARE:
        found.append(f"memory from {mib(before.memory)} to {mib(after.memory)}")
    return found


def beyond_a_new_one(old: Look, new: Look) -> list[str]:
    """What a daemon that has worked for long holds more of than one that has just begun with the same apps."""
    found = []
    if old.descriptors > new.descriptors + _FDS_TO_SPARE:
        found.append(f"{old.descriptors} descriptors, and a new daemon has {new.descriptors}")
    if old.zombies:
        found.append(f"{old.zombies} zombies")
    return found


def left_over(site: Site) -> list[str]:
    """What lies or runs there for no app that is asked for."""
    asked = {manifest.stem for manifest in site.manifests.glob("*.yaml")}
    alive = {record.id: record for record in site.instances()}
    found = [f"a process of {process.app}, pid {process.pid}, of no instance"
             for process in marked(site.state_id() or "") if process.instance not in alive]  # fmt: skip
    masters = Counter(record.app for record in alive.values())
    found += [f"{count} instances of {app}" for app, count in masters.items() if count > 1]
    found += [f"an instance of {app}, which nobody asks for" for app in masters.keys() - asked]
    for place in site.paths.apps.iterdir():
        name = place.name
        if name not in asked:
            found.append(f"apps/{name}, which nobody asks for")
            continue
        running = {record.id for record in alive.values() if record.app == name}
        passed = {entry.name for entry in _entries(site.paths.readiness(name))}
        found += [f"apps/{name}/passed/{entry} of no instance" for entry in sorted(passed - running)]
        for what in (site.paths.builds(name), site.paths.revisions(name)):
            kept = [entry.name for entry in _entries(what)]
            if len(kept) > _MOST_KEPT:
                found.append(f"{len(kept)} in apps/{name}/{what.name}")
        found += [f"{entry.relative_to(site.state)}" for entry in place.glob("*/.*")]
    found += [f"environments/{entry.name}" for entry in site.paths.environments.glob(".*")]
    return found


def mib(size: int) -> str:
    """A size for people."""
    return f"{size / 2**20:.1f} MiB"


def _entries(directory: Path) -> Iterator[Path]:
    return directory.iterdir() if directory.is_dir() else iter(())


def _files(top: Path) -> Iterator[str]:
    """Every file below, environments and the installer's cache left out: they are shared, and kept for a week."""
    for folder, folders, files in os.walk(top):
        if folder == str(top):
            folders[:] = [name for name in folders if name not in {"environments", "cache"}]
        yield from (name for name in files if stat.S_ISREG(_mode(f"{folder}/{name}")))


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
