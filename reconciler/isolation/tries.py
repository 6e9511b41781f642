"""Try, from inside a confined process, what must fail; return what did not.

Each try is named by what an operator fears, and belongs to the part that has to refuse it.
"""

import _socket  # without the module around it, which takes longer to load than all else takes
import errno
import os
import resource

from reconciler.isolation.fence import BY_RULES
from reconciler.linux.kernel_calls import call_libc, opening_fails

TYPE_CHECKING = False  # as that of `typing`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.planning.isolation.confinement import Confinement

_NEW_USER = 0x10000000
_REUSEPORT_FILTER = 51
_PROBE = ".reconciler-probe"
_NOWHERE = ("127.0.0.1", 9)  # discard, of this host: what is refused never gets there
_UNLISTED = ("127.255.83.9", 9)  # of this host, and in no list
_METADATA, _ADMIN = ("169.254.169.254", 9), ("127.0.0.1", 2019)
_MSG_FASTOPEN = 0x20000000
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_MAKING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # which refuse nothing
_NOT_SURE = (0, errno.ENXIO, errno.EEXIST, *_SHORT_OF)  # a socket, or what an earlier try has left
# Of the system, whatever the host: never to be changed, never to be read.
_SYSTEM = ("/usr", "/etc", "/bin", "/sbin", "/lib")
_SECRET = ("/etc/shadow", "/etc/gshadow", "/etc/ssh")


def tries(
    given: "Confinement", outside: "_socket.socket | None" = None
) -> "Iterator[tuple[str, str, Callable[[], object]]]":
    """Return what is tried beside files, each with the part that has to refuse it.

    `outside` is a socket of the host's network.
    """
    if given.isolation != "strict":
        yield from _of_another_user(given)
        return
    if given.daemon:
        pid = given.daemon
        yield from _of_daemon("processes", pid)
        yield "processes", "enter the daemon's directory", lambda: os.stat(f"/proc/{pid}/cwd/.")  # noqa: PTH116
        yield "processes", "change the daemon's limits", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)
    if given.listens != "all":
        yield "processes", "take another app's port", _take_port
    yield "syscalls", "make namespaces", lambda: call_libc("unshare", _NEW_USER)
    yield "syscalls", "mount", lambda: call_libc("mount", b"none", b"/tmp", b"tmpfs", 0, None)
    yield "syscalls", "steer the listener's connections", _steer
    if outside is not None:
        yield "network", "open a socket", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        yield "network", "connect by a connection of its own", lambda: _connect(outside)
        yield "network", "send with the first packet of a connection", lambda: _send_first(outside)
        yield "network", "listen by a connection of its own", lambda: _bind(outside)
    if given.connects in BY_RULES:
        yield "network", "send where its manifest does not let it", lambda: _send(_UNLISTED)
    if given.connects == "most":
        yield "network", "send to the metadata of a cloud", lambda: _send(_METADATA)
        yield "network", "send to the admin port of a proxy", lambda: _send(_ADMIN)
    if given.connects == "ports" and given.ports:
        yield "network", "connect to another port", lambda: _connect_elsewhere(given.ports)
    yield "user", "have the daemon's user", lambda: _same_user(given)


def _of_another_user(given: "Confinement") -> "Iterator[tuple[str, str, Callable[[], object]]]":
    """Return what a user of its own has to keep an app from, where nothing else does."""
    if given.daemon:
        yield from _of_daemon("user", given.daemon)
    yield "user", "have the daemon's user", lambda: _same_user(given)


def _files_through(given: "Confinement", secret: "tuple[str, ...]") -> "tuple[int, list[str]]":
    """Try what must fail with files; return how much was tried, and what did not fail.

    What the kernel refuses to open is refused. Only what it does not is looked at closer.
    """
    shut, fixed = (*given.shut, *secret), (*given.fixed, *_SYSTEM)
    through = [
        *(f"read {path}" for path in shut if opening_fails(path, _READING) in _NOT_SURE and _gets_through(_read, path)),
        *(f"see other apps in {path}" for path in given.alone if _gets_through(_list_others, path)),
        *(f"write in {path}" for path in fixed if _is_writable(path)),
    ]
    return len(shut) + len(given.alone) + len(fixed), through


def _is_writable(directory: str) -> bool:
    error = opening_fails(f"{directory}/{_PROBE}", _MAKING)
    return error in _NOT_SURE and (_gets_through(_write, directory) or error == 0)


def _of_daemon(part: str, pid: int) -> "Iterator[tuple[str, str, Callable[[], object]]]":
    yield part, "signal the daemon", lambda: os.kill(pid, 0)
    yield part, "read the daemon's environment", lambda: _read(f"/proc/{pid}/environ")


def got_through(given: "Confinement", outside: "_socket.socket | None" = None) -> "tuple[int, dict[str, list[str]]]":
    """Try everything; return how much was tried, and what was not refused, by part."""
    is_strict = given.isolation == "strict"
    count, names = _files_through(given, _SECRET if is_strict else _SECRET[:2])
    through = {"files" if is_strict else "user": names} if names else {}
    for part, name, attempt in tries(given, outside):
        count += 1
        if _gets_through(attempt):
            through.setdefault(part, []).append(name)
    return count, through


def _gets_through(attempt: "Callable[..., object]", *of: str) -> bool:
    """Whether the kernel does not refuse something; that it is short of something refuses nothing."""
    try:
        attempt(*of)
    except OSError as error:
        return error.errno in _SHORT_OF
    return True


def _read(path: str) -> None:
    """Open, list or connect to what is there. Raises OSError."""
    if os.path.isdir(path):  # noqa: PTH112
        if not os.listdir(path):  # noqa: PTH208
            raise PermissionError
        return
    try:
        os.close(os.open(path, _READING))
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket
            raise
        client = _socket.socket(_socket.AF_UNIX)
        client.settimeout(1.0)
        try:
            client.connect(path)
        finally:
            client.close()


def _list_others(directory: str) -> None:
    """List a directory in which nothing but one of this app is to be seen. Raises OSError."""
    if len(os.listdir(directory)) <= 1:  # noqa: PTH208
        raise PermissionError


def _write(directory: str) -> None:
    """Make a file in a directory, unless that was done by now, and remove it. Raises OSError."""
    path = f"{directory}/{_PROBE}"
    os.close(os.open(path, _MAKING & ~os.O_EXCL, 0o600))
    os.unlink(path)  # noqa: PTH108  pathlib would have to be loaded


def _steer() -> None:
    """Have a program choose which socket of an address gets a connection. Raises PermissionError."""
    own = _socket.socket(_socket.AF_INET)
    try:
        own.setsockopt(_socket.SOL_SOCKET, _REUSEPORT_FILTER, bytes(16))
    except PermissionError:
        raise
    except OSError:  # the kernel has read what was asked: it would have done a better-formed one
        return
    finally:
        own.close()


def _take_port() -> None:
    own = _socket.socket(_socket.AF_INET)
    try:
        _bind(own)
    finally:
        own.close()


def _send(place: "tuple[str, int]") -> None:
    """Send by UDP to where nothing listens by that, so that what gets through does not get far."""
    own = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        own.sendto(b"", place)
    finally:
        own.close()


def _connect_elsewhere(ports: "tuple[str, ...]") -> None:
    own = _socket.socket(_socket.AF_INET)
    other = next(port for port in range(1, 1 << 16) if str(port) not in ports)
    try:
        _refused(lambda: own.connect_ex((_NOWHERE[0], other)))
    finally:
        own.close()


def _connect(outside: "_socket.socket") -> None:
    _refused(lambda: outside.connect_ex(_NOWHERE))


def _send_first(outside: "_socket.socket") -> None:
    """Connect by sending, which is another way through the kernel."""

    def send() -> int:
        try:
            return outside.sendto(b"", _MSG_FASTOPEN, _NOWHERE)
        except OSError as error:
            return error.errno or 0

    _refused(send)


def _bind(outside: "_socket.socket") -> None:
    def bind() -> int:
        try:
            outside.bind(("127.0.0.1", 0))
        except OSError as error:
            return error.errno or 0
        return 0

    _refused(bind)


def _refused(attempt: "Callable[[], int]") -> None:
    """Raise PermissionError if that is the error number of an attempt; with any other, the network was asked."""
    if attempt() in (errno.EPERM, errno.EACCES):
        raise PermissionError


def _same_user(given: "Confinement") -> None:
    if given.uid is not None and os.getresuid() == (given.uid,) * 3:
        raise PermissionError
