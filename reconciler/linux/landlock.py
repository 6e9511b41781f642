"""Restrict what this process, and all it starts, may do with files, and with processes beside it: landlock(7)."""

import os

from reconciler.linux.kernel_calls import call, call_with_each

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
# How many rights each version knows: renaming between directories came with 2, truncating with 3, ioctl with 5.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_MOST_RIGHTS = 16
# Abstract sockets, and signals, of processes outside: version 6.
_SCOPED = 0b11
_SCOPES_SINCE = 6
_NETWORK_SINCE = 4
_KIND, _DIRECTORY = 0o170000, 0o040000  # of stat(2), whose module takes a while to load
_BIND, _CONNECT = 0b01, 0b10  # of TCP
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL

READ = _EXECUTE | _READ_FILE | _READ_DIR
LIST = _READ_DIR
WRITE = ((1 << _MOST_RIGHTS) - 1) & ~(_MAKE_CHAR | _MAKE_BLOCK)


def version() -> int:
    """Return the version that the kernel has, 0 without any."""
    try:
        return call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def rule(at: int, rights: int, known: int) -> bytes:
    """Return the rule that allows rights on what is open, and on all below it; those that a version knows."""
    if os.fstat(at).st_mode & _KIND != _DIRECTORY:
        rights &= _OF_FILES
    return (rights & _handled(known)).to_bytes(8, "little") + at.to_bytes(4, "little")


def _handled(known: int) -> int:
    return (1 << _RIGHTS.get(known, _MOST_RIGHTS)) - 1


def keeps_from_network() -> bool:
    """Whether the kernel's can refuse connections."""
    return version() >= _NETWORK_SINCE


class Ruleset:
    """Rights on paths, and below them, for this process; what no rule names is refused once it is `enforced`."""

    def __init__(self, *, connects: bool = True, binds: bool = True) -> None:
        """Begin with no rights on paths; and with none to connect or to bind by TCP, unless it `connects` or `binds`.

        Raises OSError.
        """
        self._version = version()
        parts = [_handled(self._version)]
        if self._version >= _NETWORK_SINCE:
            parts.append((0 if connects else _CONNECT) | (0 if binds else _BIND))
        if self._version >= _SCOPES_SINCE:
            parts.append(_SCOPED)
        attributes = b"".join(part.to_bytes(8, "little") for part in parts)
        self.descriptor = call(_CREATE_RULESET, attributes, len(attributes), 0)

    @classmethod
    def of(cls, descriptor: int) -> "Ruleset":
        """Take on rules that another process has made, by their descriptor."""
        taken = cls.__new__(cls)
        taken._version, taken.descriptor = version(), descriptor  # noqa: SLF001  its own
        return taken

    @property
    def keeps_from_network(self) -> bool:
        """Whether it can refuse connections."""
        return self._version >= _NETWORK_SINCE

    @property
    def keeps_processes_apart(self) -> bool:
        """Whether it refuses signals to processes outside, and not only what a debugger does."""
        return self._version >= _SCOPES_SINCE

    def allow(self, path: str, rights: int) -> None:
        """Allow rights on a path and all below it; one that is not there is left out. Raises OSError."""
        try:
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self.add([rule(at, rights, self._version)])
        finally:
            os.close(at)

    def add(self, rules: "list[bytes]") -> None:
        """Allow what these rules say. Raises OSError."""
        call_with_each(_ADD_RULE, self.descriptor, _PATH_BENEATH, rules)

    def allow_port(self, port: int) -> None:
        """Allow connections by TCP to a port, at any address. Raises OSError, as on a kernel that has no such rules."""
        call(_ADD_RULE, self.descriptor, _NET_PORT, _CONNECT.to_bytes(8, "little") + port.to_bytes(8, "little"), 0)

    def enforce(self) -> None:
        """Take on the rules for good; no_new_privs is set. Raises OSError."""
        call(_RESTRICT_SELF, self.descriptor, 0)
        os.close(self.descriptor)
