"""Check the state directory and the disk it is on: access, owner, file system, space."""

import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.inspection.checks.check import Check, Level
from reconciler.linux.proc_files import read_proc
from reconciler.state.ownership import NotOurs, require_ours
from reconciler.state.paths import unusable

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "glusterfs", "ceph", "afs")
_LITTLE_SPACE, _NO_SPACE = 2 * 2**30, 256 * 2**20
_FEW_INODES = 50_000


def state_directory(state: Path) -> Iterator[Check]:
    """Check the state directory, or the nearest directory above it that exists."""
    if problem := unusable(state):
        found, _, advice = problem.partition("; ")
        yield Check(level="fail", subject="state", found=found, advice=advice)
        return
    nearest = next(parent for parent in (state, *state.parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        advice = f"let user id {os.geteuid()} write to {nearest}, or choose another directory with --state"
        yield Check(level="fail", subject="state", found=f"{nearest} is not writable", advice=advice)
        return
    if nearest == state:
        yield from _ownership(state)
    else:
        yield Check(level="ok", subject="state", found=f"{state} will be created on the first start")
    yield from _file_system(nearest)
    yield from _space(nearest)


def _ownership(state: Path) -> Iterator[Check]:
    mode = state.stat().st_mode & 0o777
    try:
        require_ours(state)
    except NotOurs as error:
        found, _, remedy = str(error).partition("; ")
        advice = f"{remedy}; do not just chown it: what another user wrote there would run as this one"
        yield Check(level="fail", subject="state", found=found, advice=advice)
        return
    if mode & 0o077:
        advice = f"it holds secrets of the apps: chmod 700 {state} (the daemon does so when it starts)"
        yield Check(level="warn", subject="state", found=f"{state} has mode {mode:03o}", advice=advice)
    else:
        yield Check(level="ok", subject="state", found=f"{state}, mode {mode:03o}")


def _file_system(directory: Path) -> Iterator[Check]:
    kind = kind_of_file_system(directory)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        advice = "SQLite and hard links need a local disk: choose another directory with --state"
        yield Check(level="fail", subject="file system", found=f"{kind}, a network file system", advice=advice)
    elif os.statvfs(directory).f_flag & os.ST_NOEXEC:
        advice = "it holds the apps' Python environments: mount it without noexec, or choose another with --state"
        yield Check(level="fail", subject="file system", found=f"{kind}, mounted noexec", advice=advice)
    elif kind == "tmpfs":
        advice = "after a reboot, every app is staged again and may get another port"
        yield Check(level="warn", subject="file system", found="tmpfs, which a reboot empties", advice=advice)
    else:
        yield Check(level="ok", subject="file system", found=kind)


def kind_of_file_system(directory: Path) -> str:
    """Return the kind of the nearest mount at or above the directory by mountinfo, proc(5); of several, the last."""
    resolved, best, kind = directory.resolve(), Path("/"), "unknown"
    for line in read_proc("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mounted = Path(before.split()[4].replace("\\040", " "))
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, after.split()[0]
    return kind


def _space(directory: Path) -> Iterator[Check]:
    facts = os.statvfs(directory)
    free = facts.f_bavail * facts.f_frsize
    level: Level = "fail" if free < _NO_SPACE else "warn" if free < _LITTLE_SPACE else "ok"
    advice = "" if level == "ok" else "free some space: one environment takes 20 to 500 MB"
    yield Check(level=level, subject="space", found=f"{free / 2**30:.1f} GiB free", advice=advice)
    if facts.f_files and facts.f_favail < _FEW_INODES:
        advice = "remove files, or use another file system: one environment takes thousands of inodes"
        yield Check(level="warn", subject="space", found=f"{facts.f_favail} inodes free", advice=advice)
