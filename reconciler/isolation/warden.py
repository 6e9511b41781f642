"""The warden: the one service of root. It gives namespaces of the daemon's user the users of apps, and does no more.

Its second process, in another module, gives the kernel rules for these users, and has no right over them. A request to
the first is one word, and names nothing: no app, no number, no path. What is written is the same each time, and the
kernel takes it only for a namespace that the daemon's user has made, once. An attacker who has taken over the daemon
can become every app by it, and never root.
"""

import os
import pwd
import select
import socket
import struct
from collections.abc import Collection, Iterable
from contextlib import closing, suppress
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.privileges import drop_bounding_set, gain_no_more, set_capabilities
from reconciler.linux.user_namespaces import numbers_of_others

SOCKET = Path("/run/reconciler-warden/socket")
VARIABLE = "RECONCILER_WARDEN"  # another path of the socket
REQUEST, GIVEN = b"users", b"given"
ONLY_THE_DAEMON = "only the daemon's user may ask"
_UNKNOWN = 65534  # overflowuid of proc(5)
_DIGITS = 10
_LONGEST, _BACKLOG, _ANSWER_S = 64, 16, 2.0
_CREDENTIALS = struct.Struct("iII")  # ucred of unix(7)


class Unfit(Exception):
    """A warden cannot give these users; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warded:
    """The daemon's user and group, and the users that apps get; all keep their numbers in a namespace."""

    uid: int
    gid: int
    users: range

    @classmethod
    def of(cls, name: str, users: range) -> "Warded":
        """Return that of a user by name or number. Raises Unfit if the users of apps are those of others, too."""
        uid, gid = _numbers_of(name)
        if uid == 0:
            raise Unfit("a daemon that is root needs no warden")
        if uid in users or gid in users or uid == _UNKNOWN:
            raise Unfit(f"user {name} cannot be the daemon's: it is one of apps, or of files whose user is not known")
        if not users or users.start < 1 or users.stop > 1 << 31 or users.step != 1:
            raise Unfit("the users of apps are a range of numbers from 1 on")
        for number, whose in numbers_of_others():
            if number in users:
                raise Unfit(f"{number} is {whose} of this host: choose other users")
        return cls(uid=uid, gid=gid, users=users)

    def map_for(self, own: int) -> bytes:
        """Return what the kernel takes as the map of a namespace (user_namespaces(7)), in which `own` is, too."""
        return f"{own} {own} 1\n{self.users.start} {self.users.start} {len(self.users)}\n".encode()


def _numbers_of(name: str) -> tuple[int, int]:
    if name.isascii() and name.isdecimal() and len(name) < _DIGITS:
        return int(name), int(name)
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise Unfit(f"this host has no user {name}") from None
    return found.pw_uid, found.pw_gid


def opened(path: Path, warded: Warded) -> socket.socket:
    """Listen at a path, for the daemon's user alone. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        os.chown(path, warded.uid, -1, follow_symlinks=False)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def place_of(given: Path | None = None) -> Path:
    """Return where the daemon asks for users, unless it is given."""
    return given or Path(os.environ.get(VARIABLE) or SOCKET)


def place_of_rules(given: Path | None = None) -> Path:
    """Return where the daemon asks for rules of the kernel: beside where it asks for users."""
    place = place_of(given)
    return place.with_name(f"{place.name}-rules")


def give_up_all_but(rights: Iterable[int], warded: Warded) -> None:
    """Give up for good every capability but these; files are opened as the daemon's user. Raises OSError."""
    drop_bounding_set()
    gain_no_more()
    os.setgroups([])
    os.setegid(warded.gid)
    os.seteuid(warded.uid)  # the real one stays: the daemon can neither signal this process nor look into it
    kept = sum(1 << each for each in rights)
    set_capabilities(effective=kept, permitted=kept, inheritable=0)


def serve(listening: socket.socket, warded: Warded, until: Collection[int]) -> None:
    """Answer requests until one of the descriptors `until` is readable; whatever one is, the next is answered."""
    waiting = select.poll()
    for each in (listening.fileno(), *until):
        waiting.register(each, select.POLLIN)
    while not dict(waiting.poll()).keys() & until:
        with suppress(OSError):
            connection, _ = listening.accept()
            with closing(connection):
                connection.settimeout(_ANSWER_S)
                answer = answered(connection, warded)
                connection.send(answer)


def answered(connection: socket.socket, warded: Warded) -> bytes:
    """Do what one connection asks for; return the answer. Raises OSError if nothing was asked."""
    pid, uid = credentials_of(connection)
    request = connection.recv(_LONGEST)
    if uid != warded.uid or pid <= 0:
        return f"refused: {ONLY_THE_DAEMON}".encode()
    if request != REQUEST:
        return b"refused: there is one request, and this is another"
    try:
        for name, own in (("gid_map", warded.gid), ("uid_map", warded.uid)):
            _write(f"/proc/{pid}/{name}", warded.map_for(own))
    except OSError as error:
        return f"refused: the kernel does not take it: {in_words(error)}".encode()
    return GIVEN


def credentials_of(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and the user of who has connected, as the kernel says. Raises OSError."""
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
