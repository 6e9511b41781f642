"""Check what the kernel offers and allows: pidfd, fetching listeners back, inotify, open files."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.inspection.checks.check import Check
from reconciler.linux.error_words import in_words
from reconciler.planning.wording import counted

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog

_OLDEST = (5, 6)
_FILES_PER_APP, _FILES_OF_DAEMON = 4, 128
_TRIAL_S = 10


def version() -> Iterator[Check]:
    """Check that the kernel is new enough and permits pidfd_open."""
    release = os.uname().release
    numbers = tuple(int(part) for part in release.partition("-")[0].split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST:
        advice = "upgrade to Linux 5.6 or newer, which has pidfd"
        yield Check(level="fail", subject="kernel", found=f"Linux {release}", advice=advice)
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        advice = "a sandbox or an old container runtime blocks it: allow pidfd_open in its seccomp profile"
        yield Check(level="fail", subject="kernel", found=f"pidfd_open: {in_words(error)}", advice=advice)
    else:
        yield Check(level="ok", subject="kernel", found=f"Linux {release}, pidfd works")


def listeners() -> Iterator[Check]:
    """Check that a listener can be fetched from a process that is not a descendant, as after the daemon restarts."""
    scope = number_in(Path("/proc/sys/kernel/yama/ptrace_scope"))
    setting = "" if scope is None else f" (kernel.yama.ptrace_scope is {scope})"
    if _can_fetch():
        yield Check(
            level="ok", subject="listeners", found=f"running apps keep theirs when the daemon restarts{setting}"
        )
        return
    yield Check(
        level="warn",
        subject="listeners",
        found=f"cannot be fetched back from running apps{setting}",
        advice="set sysctl kernel.yama.ptrace_scope=0, or give the daemon CAP_SYS_PTRACE; otherwise every restart of"
        " the daemon replaces each app's instance through a second socket (SO_REUSEPORT), and connections waiting at"
        " that moment may be lost",
    )


def _can_fetch() -> bool:
    from reconciler.planning.address import Address
    from reconciler.serving.listening_sockets import Listeners

    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
        child = os.fork()
        if child == 0:  # forks again and exits, so that the grandchild is not a descendant
            if os.fork() == 0:
                os.write(writing, str(os.getpid()).encode())
                signal.alarm(_TRIAL_S)  # ends it if this process is killed first
                signal.pause()
            os._exit(0)
        os.waitpid(child, 0)
    try:
        pid = int(os.read(reading, 20))
        fd = os.pidfd_open(pid)
        fetched = Listeners()
        try:
            return fetched.fetch(address, fd, pid)
        finally:
            fetched.close_all()
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)
    finally:
        os.close(reading)
        os.close(writing)


def inotify(catalog: "Catalog") -> Iterator[Check]:
    """Check that the sources of all apps can be watched."""
    from reconciler.staging.errors import SourceError
    from reconciler.staging.source.tree import entries

    needed = 1
    for app in catalog.apps.values():
        if not app.source.pinned:
            with contextlib.suppress(OSError, SourceError):
                needed += 1 + sum(entry.kind == "directory" for entry in entries(Path(app.source.path)))
    allowed = number_in(Path("/proc/sys/fs/inotify/max_user_watches")) or 0
    found = f"{allowed} watches allowed, {needed} needed"
    until_then = "; until then, changes are found by polling, which is slower"
    if 2 * needed > allowed:
        advice = f"set sysctl fs.inotify.max_user_watches={max(2 * needed, 524288)}{until_then}"
        yield Check(level="warn", subject="inotify", found=found, advice=advice)
    elif not _can_watch():
        advice = f"set sysctl fs.inotify.max_user_instances=1024{until_then}"
        yield Check(level="warn", subject="inotify", found="no more watchers can be created", advice=advice)
    else:
        yield Check(level="ok", subject="inotify", found=found)


def _can_watch() -> bool:
    fd = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return False
    os.close(fd)
    return True


def canaries(catalog: "Catalog") -> Iterator[Check]:
    """Check that connections can be divided, if an app asks for that."""
    names = sorted(name for name, app in catalog.apps.items() if app.canary is not None)
    if not names:
        return
    from reconciler.linux.shared_ports import why_not

    if problem := why_not():
        advice = f"new revisions of {', '.join(names)} take over at once; allow SO_ATTACH_REUSEPORT_CBPF (Linux 4.5)"
        yield Check(level="warn", subject="canaries", found=f"connections cannot be divided: {problem}", advice=advice)
    else:
        yield Check(level="ok", subject="canaries", found="the kernel divides connections")


def open_files(apps: int) -> Iterator[Check]:
    """Check that the daemon may open as many files as this many apps need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_APP * apps + _FILES_OF_DAEMON
    found = f"{soft} allowed, about {needed} needed for {counted(apps, 'app')}"
    if soft < needed:
        limit = "ulimit -n" if hard >= needed else "the hard limit (LimitNOFILE= in a unit)"
        advice = f"raise {limit} to {2 * needed} where the daemon is started"
        yield Check(level="fail", subject="open files", found=found, advice=advice)
    else:
        yield Check(level="ok", subject="open files", found=found)


def number_in(file: Path) -> int | None:
    """Return the number in a file of /proc, None if there is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
