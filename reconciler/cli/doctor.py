"""`reconciler doctor`: checks the host, and says what to fix."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.table import cut, show_json, styled, width, wrapped
from reconciler.inspection.printable import counted, plain
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog

Level: TypeAlias = Literal["ok", "warn", "fail"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_OLDEST_KERNEL = (5, 6)
_FILES_PER_APP, _FILES_OF_OUR_OWN = 4, 128
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "glusterfs", "ceph", "afs")
_LITTLE_SPACE, _NO_SPACE = 2 * 2**30, 256 * 2**20
_FEW_INODES = 50_000
_FEW_PORTS = 20
_TRIAL_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found of one thing, and what to do about it when it is not as it should be."""

    level: Level
    subject: str
    found: str
    advice: str = ""


@click.command(epilog=examples("reconciler doctor", "reconciler doctor --json"))
@json_option
@host_options
def command(settings: Settings, as_json: bool) -> None:
    """Check this host: kernel, limits, state directory, uv, Pythons, ports, manifests, daemon. Nothing is changed.

    Exits with 1 when something fails, that is, when apps could not be served as things are.
    """
    checks = list(_checks(settings))
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        for check in checks:
            _show(check)
    if any(check.level == "fail" for check in checks):
        raise SystemExit(1)


def _show(check: Check) -> None:
    limit = width()
    head = f"{check.level:<4}  {check.subject}: {plain(check.found)}"
    first, *more = wrapped(head, limit, " " * 6)
    click.echo(styled(check.level, fg=_COLOURS[check.level]) + first[len(check.level) :])
    lines = [*more, *(wrapped(f"      {plain(check.advice)}", limit, " " * 6) if check.advice else ())]
    for line in lines:
        click.echo(cut(line, limit))


def _checks(settings: Settings) -> Iterator[Check]:
    from reconciler.inspection.catalog import checked

    catalog = checked(settings)
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _kernel,
        _fetching,
        lambda: _inotify(catalog),
        lambda: _open_files(len(catalog.apps)),
        lambda: _state(settings.paths.state),
        _uv,
        lambda: _interpreters(settings.interpreters),
        lambda: _ports(settings),
        lambda: _manifests(settings, catalog),
        lambda: _daemon(settings),
        lambda: _clock(settings.paths.database),
    )
    for part in parts:
        try:
            yield from part()
        except OSError as error:
            yield Check(level="warn", subject="doctor", found=f"cannot check everything: {error}")


def _kernel() -> Iterator[Check]:
    release = os.uname().release
    numbers = tuple(int(part) for part in release.partition("-")[0].split(".")[:2] if part.isdecimal())
    advice = "5.6 or newer is needed, for pidfd: upgrade the kernel"
    if numbers < _OLDEST_KERNEL:
        yield Check(level="fail", subject="kernel", found=f"Linux {release}", advice=advice)
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        advice = "a sandbox or an old container runtime forbids it: allow pidfd_open in its seccomp profile"
        yield Check(level="fail", subject="kernel", found=f"pidfd_open: {error.strerror}", advice=advice)
    else:
        yield Check(level="ok", subject="kernel", found=f"Linux {release}, pidfd works")


def _fetching() -> Iterator[Check]:
    """Really fetches a listening socket from a process that is no descendant of ours, as after a daemon's death."""
    scope = _number(Path("/proc/sys/kernel/yama/ptrace_scope"))
    told = "" if scope is None else f" (kernel.yama.ptrace_scope is {scope})"
    if _can_fetch():
        yield Check(level="ok", subject="listeners", found=f"can be fetched back from running apps{told}")
        return
    yield Check(
        level="warn",
        subject="listeners",
        found=f"cannot be fetched back from running apps{told}",
        advice="after the daemon's own restart each app is handed over once to a new instance on a second socket"
        " (SO_REUSEPORT), and connections that wait at that moment may be lost; sysctl kernel.yama.ptrace_scope=0, or"
        " CAP_SYS_PTRACE for the daemon, avoids that",
    )


def _can_fetch() -> bool:
    import signal
    import socket

    from reconciler.planning.desired import Address
    from reconciler.serving.listeners import Listeners

    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
        child = os.fork()
        if child == 0:  # forks once more and ends, so that the grandchild is nobody's descendant
            if os.fork() == 0:
                os.write(writing, str(os.getpid()).encode())
                signal.alarm(_TRIAL_S)  # ends it, should this process be killed first
                signal.pause()
            os._exit(0)
        os.waitpid(child, 0)
    try:
        pid = int(os.read(reading, 20))
        fd = os.pidfd_open(pid)
        listeners = Listeners()
        try:
            return listeners.fetch(address, fd, pid)
        finally:
            listeners.close_all()
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)
    finally:
        os.close(reading)
        os.close(writing)


def _inotify(catalog: "Catalog") -> Iterator[Check]:
    from reconciler.staging.errors import SourceError
    from reconciler.staging.source.tree import entries

    needed = 1
    for app in catalog.apps.values():
        if not app.source.pinned:
            with contextlib.suppress(OSError, SourceError):
                needed += 1 + sum(entry.kind == "directory" for entry in entries(Path(app.source.path)))
    allowed = _number(Path("/proc/sys/fs/inotify/max_user_watches")) or 0
    found = f"{allowed} watches allowed, {needed} needed"
    advice = f"sysctl fs.inotify.max_user_watches={max(2 * needed, 524288)}; until then changes are found by looking"
    if 2 * needed > allowed:
        yield Check(level="warn", subject="inotify", found=found, advice=advice)
    elif not _can_watch():
        advice = "sysctl fs.inotify.max_user_instances=1024; until then changes are found by looking, which is slower"
        yield Check(level="warn", subject="inotify", found="no further watcher can be made", advice=advice)
    else:
        yield Check(level="ok", subject="inotify", found=found)


def _can_watch() -> bool:
    import ctypes

    fd = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return False
    os.close(fd)
    return True


def _open_files(apps: int) -> Iterator[Check]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_APP * apps + _FILES_OF_OUR_OWN
    found = f"{soft} allowed, about {needed} needed for {counted(apps, 'app')}"
    if soft < needed:
        what = "ulimit -n" if hard >= needed else "the hard limit (LimitNOFILE= in a unit)"
        advice = f"raise {what} to {2 * needed} where the daemon is started"
        yield Check(level="fail", subject="open files", found=found, advice=advice)
    else:
        yield Check(level="ok", subject="open files", found=found)


def _state(state: Path) -> Iterator[Check]:
    place = next(parent for parent in (state, *state.parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        advice = f"let user id {os.geteuid()} write to {place}, or choose another with --state"
        yield Check(level="fail", subject="state", found=f"{place} cannot be written to", advice=advice)
        return
    if place == state:
        yield from _ownership(state)
    else:
        yield Check(level="ok", subject="state", found=f"{state} will be made at the first start")
    yield from _file_system(place)
    yield from _space(place)


def _ownership(state: Path) -> Iterator[Check]:
    status = state.stat()
    mode = status.st_mode & 0o777
    if status.st_uid != os.geteuid():
        found = f"{state} belongs to user id {status.st_uid}, and this is user id {os.geteuid()}"
        advice = f"run everything as its owner, or chown -R {os.geteuid()} it"
        yield Check(level="fail", subject="state", found=found, advice=advice)
    elif mode & 0o077:
        advice = f"it holds secrets of the apps: chmod 700 {state} (the daemon does so when it starts)"
        yield Check(level="warn", subject="state", found=f"{state} has mode {mode:03o}", advice=advice)
    else:
        yield Check(level="ok", subject="state", found=f"{state}, mode {mode:03o}")


def _file_system(place: Path) -> Iterator[Check]:
    kind = _kind_of_file_system(place)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        advice = "SQLite and hard links need a local disk: choose another place with --state"
        yield Check(level="fail", subject="file system", found=f"{kind}, over a network", advice=advice)
    elif os.statvfs(place).f_flag & os.ST_NOEXEC:
        advice = "the Pythons of the apps are run from there: mount it without noexec, or choose another with --state"
        yield Check(level="fail", subject="file system", found=f"{kind}, mounted noexec", advice=advice)
    elif kind == "tmpfs":
        advice = "everything is staged again, and ports are leased anew, after a reboot"
        yield Check(level="warn", subject="file system", found="tmpfs, which a reboot empties", advice=advice)
    else:
        yield Check(level="ok", subject="file system", found=kind)


def _kind_of_file_system(place: Path) -> str:
    """By mountinfo (proc(5)): the mount nearest above the place, the last where several cover it."""
    where, best, kind = place.resolve(), Path("/"), "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        mounted = Path(before.split()[4].replace("\\040", " "))
        if where.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, after.split()[0]
    return kind


def _space(place: Path) -> Iterator[Check]:
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize
    level: Level = "fail" if free < _NO_SPACE else "warn" if free < _LITTLE_SPACE else "ok"
    advice = "" if level == "ok" else "an environment takes 20 to 500 MB: make room"
    yield Check(level=level, subject="space", found=f"{free / 2**30:.1f} GiB free", advice=advice)
    if facts.f_files and facts.f_favail < _FEW_INODES:
        advice = "an environment takes thousands of files: remove some, or use another file system"
        yield Check(level="warn", subject="space", found=f"{facts.f_favail} more files can be made", advice=advice)


def _uv() -> Iterator[Check]:
    import subprocess

    import uv

    advice = "it comes with reconciler: install reconciler again, for this platform"
    try:
        program = uv.find_uv_bin()
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        yield Check(level="fail", subject="uv", found=f"does not run: {error}", advice=advice)
    else:
        yield Check(level="ok", subject="uv", found=f"{answer.stdout.strip()}, {program}")


def _interpreters(extra: tuple[str, ...]) -> Iterator[Check]:
    from reconciler.staging.detection.runtimes import discover, is_supported

    found = [runtime for runtime in discover(extra) if is_supported(runtime)]
    names = ", ".join(dict.fromkeys(runtime.name for runtime in found))
    missing = [path for path in extra if not Path(path).exists()]
    if missing:
        advice = "correct 'interpreters' in the host's settings"
        yield Check(level="warn", subject="Pythons", found=f"not there: {', '.join(missing)}", advice=advice)
    if found:
        yield Check(level="ok", subject="Pythons", found=names)
    else:
        advice = "install one, for example with 'uv python install', or name it under 'interpreters' in the settings"
        yield Check(level="fail", subject="Pythons", found="none that an app could run on", advice=advice)


def _ports(settings: Settings) -> Iterator[Check]:
    from reconciler.serving.listeners import is_free

    leased = _leased(settings)
    taken = [port for port in settings.ports if port not in leased and not is_free("127.0.0.1", port)]
    free = len(settings.ports) - len(taken) - len(leased & set(settings.ports))
    others = f", {len(taken)} taken by other programs" if taken else ""
    found = f"{settings.first_port} to {settings.last_port}: {free} of {len(settings.ports)} free{others}"
    advice = "give 'ports' another range in the host's settings"
    yield Check(
        level="fail" if not free else "warn" if free < _FEW_PORTS else "ok",
        subject="ports",
        found=found,
        advice=advice if free < _FEW_PORTS else "",
    )
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if settings.first_port <= high and low <= settings.last_port:
        found = f"the range overlaps {low} to {high}, which the kernel gives to outgoing connections"
        yield Check(level="warn", subject="ports", found=found, advice=advice)
    if settings.first_port < (_number(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")) or 0) and os.geteuid():
        found = f"only root may listen on {settings.first_port}"
        yield Check(level="fail", subject="ports", found=found, advice=advice)


def _leased(settings: Settings) -> set[int]:
    """Ports of our own apps: taken when those run."""
    import sqlite3

    from reconciler.state.records import Records
    from reconciler.state.schema import OtherVersion, open_database

    if not settings.paths.database.exists():
        return set()
    try:
        with contextlib.closing(open_database(settings.paths.database, read_only=True)) as database:
            return set(Records(database).leases().values())
    except (OtherVersion, sqlite3.Error):
        return set()


def _manifests(settings: Settings, catalog: "Catalog") -> Iterator[Check]:
    from reconciler.inspection.catalog import problems_of

    problems = sum(1 for _ in problems_of(catalog))
    if catalog.notice:
        advice = "make it, or name another with --manifests; until then nothing is started and nothing is stopped"
        yield Check(level="fail", subject="manifests", found=catalog.notice.partition(";")[0], advice=advice)
    elif problems:
        found = f"{counted(problems, 'problem')} in {settings.manifests}"
        yield Check(level="warn", subject="manifests", found=found, advice="'reconciler validate' lists them")
    else:
        found = f"{settings.manifests}: {counted(len(catalog.files), 'file')}, {counted(len(catalog.apps), 'app')}"
        yield Check(level="ok", subject="manifests", found=found)


def _daemon(settings: Settings) -> Iterator[Check]:
    from reconciler.state.lock import holder

    pid = holder(settings.paths)
    if pid is not None:
        yield Check(level="ok", subject="daemon", found=f"runs, pid {pid}")
    else:
        advice = "'reconciler run' starts it; what serves goes on without it, but nothing is kept up"
        yield Check(level="warn", subject="daemon", found="none runs", advice=advice)


def _clock(database: Path) -> Iterator[Check]:
    """A clock that is behind what was written before it is wrong; certificates and packages then seem not valid yet."""
    now = time.time()  # noqa: TID251  the wall clock itself is what is checked
    written = [path.stat().st_mtime for path in (Path(__file__), database) if path.exists()]
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now + 60 < max(written):
        advice = "set it, and let NTP keep it: downloads fail while certificates seem not valid yet"
        yield Check(level="fail", subject="clock", found=f"{shown} is before files that exist", advice=advice)
    else:
        yield Check(level="ok", subject="clock", found=shown)


def _number(file: Path) -> int | None:
    """The number in a file of /proc, None when there is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
