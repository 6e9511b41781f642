"""Give the kernel a table of packet filter rules, all of it at once, and read back what it has: nf_tables by netlink.

A table is replaced or changed as one transaction: packets meet the former rules or the next, and tables of others are
not touched. The numbers are those of linux/netfilter/nf_tables.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from reconciler.linux.filter_expressions import ATTRIBUTE, NESTED, text
from reconciler.linux.filter_table import MARK, SETS, Message, Table, changes, contents, made, mark_in, sum_of

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 10
_REQUEST, _ACK, _DUMP, _CREATE = 1, 4, 0x300, 0x400
_ERROR, _DONE, _BATCH_BEGIN, _BATCH_END = 2, 3, 0x10, 0x11
_DELETE_TABLE = 2
_GET_TABLE, _GET_RULE, _GET_ELEMENTS, _GET_GENERATION = 1, 7, 13, 16
_INET = 1  # NFPROTO_INET: both versions of the protocol
_HEADER, _FAMILY = struct.Struct("=IHHII"), struct.Struct(">BBH")
_ANSWER_BYTES, _ANSWER_US = 1 << 16, 50_000
_SNDBUFFORCE = 32  # of socket(7): a transaction is sent as a whole, whatever its length
_GROUP = 1 << (7 - 1)  # NFNLGRP_NFTABLES


def replace(name: str, table: Table, mark: str) -> None:
    """Replace the table of a name by this one, or remove it if there is nothing in it; `mark` is found by `mark_of`.

    Raises OSError.
    """
    with _opened() as link:
        _replace(link, name, table, mark, ((False, False),))


def change(name: str, before: Table, after: Table, mark: str, *, renew: bool = False) -> None:
    """Make one table of another that is fixed in the same way. Raises OSError, as where it is not the one before.

    That takes the kernel some milliseconds, and more where something is removed, be it the marks that are to `renew`.
    """
    with _opened() as link:
        _commit(link, changes(name, before, after, mark, generation(), renew=renew))


def take(_: str) -> bool:
    """Whether a table is owned as far as it is to be: by no socket."""
    return True


class OwnedTables:
    """Tables that are changed by one socket alone: while that is open, no other program changes or flushes them.

    It is open while one is owned. They stay when it is closed, and the next one takes them over. Where the kernel knows
    no owners, any program may change them, as those of the functions of this module.
    """

    def __init__(self) -> None:
        """Own none yet."""
        self._link: socket.socket | None = None
        self._owned: set[str] = set()
        self.generation, self.mark_of, self.watch, self.drain = generation, mark_of, watch, drain

    def replace(self, name: str, table: Table, mark: str) -> None:
        """Replace a table as the function does. Raises OSError."""
        with self._opened() as link:
            owned = _replace(link, name, table, mark, ((True, True), (False, True), (False, False)))
            self._owned -= {name}
            self._owned |= {name} if owned and table else set()

    def change(self, name: str, before: Table, after: Table, mark: str, *, renew: bool = False) -> None:
        """Change a table as the function does. Raises OSError."""
        with self._opened() as link:
            _commit(link, changes(name, before, after, mark, generation(), renew=renew))

    def take(self, name: str) -> bool:
        """Take over a table that a former owner has left; return whether it is owned now."""
        if name not in self._owned:
            with self._opened() as link, suppress(OSError):
                _commit(link, (made(name, owned=True),))
                self._owned.add(name)
        return name in self._owned

    @contextmanager
    def _opened(self) -> Iterator[socket.socket]:
        self._link = _opened() if self._link is None else self._link
        try:
            yield self._link
        finally:
            if not self._owned:
                self._link.close()
                self._link = None


def _replace(link: socket.socket, name: str, table: Table, mark: str, ways: Iterable[tuple[bool, bool]]) -> bool:
    """Replace a table by the first of the ways that the kernel knows; return whether it is owned. Raises OSError.

    Each says whether the one before is owned or left by an owner, and whether the next one is to be.
    """
    refused = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    for before, owned in ways:
        messages: list[Message] = [made(name, owned=before), (_DELETE_TABLE, text(1, name), 0)]
        try:
            _commit(link, [*messages, *(contents(name, table, mark, owned=owned) if table else ())])
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            refused = error
        else:
            return owned
    raise refused


def _commit(link: socket.socket, asked: Iterable[Message]) -> None:
    begin, end = (_bare(kind, _FAMILY.pack(0, 0, _SUBSYSTEM), _REQUEST) for kind in (_BATCH_BEGIN, _BATCH_END))
    *others, last = (_message(*each) for each in asked)
    batch = b"".join((begin, *others, _answered(last), end))
    _forget_answers(link)
    link.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, 2 * len(batch) + _ANSWER_BYTES)
    link.send(batch)
    while not _is_taken(_answer(link)):
        pass


def _forget_answers(link: socket.socket) -> None:
    """Take what was answered to the one before, of which the first refusal was enough."""
    with suppress(BlockingIOError):
        while link.recv(_ANSWER_BYTES, socket.MSG_DONTWAIT):
            pass


def _answer(link: socket.socket) -> bytes:
    """Return what the kernel answers, which it has done once it was asked. Raises OSError, also if it has not."""
    try:
        return link.recv(_ANSWER_BYTES)
    except BlockingIOError:
        raise OSError(errno.ETIMEDOUT, "the kernel does not answer") from None


def generation() -> int:
    """Return a number that is another one once any table of this network has been changed. Raises OSError."""
    with _opened() as link:
        link.send(_bare(_SUBSYSTEM << 8 | _GET_GENERATION, _FAMILY.pack(0, 0, 0), _REQUEST))
        for kind, payload in _messages(_answer(link)):
            if kind == _ERROR:
                _refused(payload)
            return int.from_bytes(dict(_attributes(payload[_FAMILY.size :])).get(1, b""), "big")
    return 0


def mark_of(table: str) -> tuple[str, int]:
    """Return the mark that a table was made with, and the checksum of what it has by now; "" and 0 without one.

    Raises OSError.
    """
    try:
        rules = sum(1 for _ in _dumped(_GET_RULE, table))
        marks = [_first(element, 1, 1) for element in _elements(table, MARK)]
    except FileNotFoundError:
        return "", 0
    some = ((name, _first(each, 1, 1), _chain(each)) for name in SETS for each in _elements_if_any(table, name))
    return mark_in(marks), sum_of(rules, some)


def _elements(table: str, name: str) -> Iterator[bytes]:
    """Yield what is said of each element of a set. Raises OSError, as if there is no such set."""
    for answer in _dumped(_GET_ELEMENTS, table, text(2, name)):
        yield from (element for _, element in _attributes(answer.get(3, b"")))


def _elements_if_any(table: str, name: str) -> Iterator[bytes]:
    """Yield them as well where there is no such set, as in a table that an earlier version made. Raises OSError."""
    with suppress(FileNotFoundError):
        yield from _elements(table, name)


def _chain(element: bytes) -> str:
    return _first(element, 2, 2, 2).rstrip(b"\0").decode(errors="replace")


def tables() -> list[str]:
    """Return the names of the tables of both versions of the protocol. Raises OSError."""
    return [_text(each) for each in _dumped(_GET_TABLE, "")]


def _dumped(kind: int, table: str, more: bytes = b"") -> Iterator[dict[int, bytes]]:
    """Yield the attributes of each answer about a table, about all without a name. Raises OSError."""
    with _opened() as link:
        asked = _FAMILY.pack(_INET, 0, 0) + (text(1, table) if table else b"") + more
        link.send(_bare(_SUBSYSTEM << 8 | kind, asked, _REQUEST | _DUMP))
        while True:
            for answer, payload in _messages(_answer(link)):
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    _refused(payload)
                fields = dict(_attributes(payload[_FAMILY.size :]))
                if not table or _text(fields) == table:
                    yield fields


def _text(fields: Mapping[int, bytes]) -> str:
    """Return the name of the table that an answer is about."""
    return fields.get(1, b"").rstrip(b"\0").decode(errors="replace")


def _first(content: bytes, *kinds: int) -> bytes:
    """Return the first attribute of the first of these kinds, and so on within it; nothing without one."""
    for kind in kinds:
        content = next((each for found, each in _attributes(content) if found == kind), b"")
    return content


def watch() -> socket.socket:
    """Return a socket that is readable whenever a table of this network has been changed. Raises OSError."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
    try:
        link.bind((0, _GROUP))
    except BaseException:
        link.close()
        raise
    return link


def drain(link: socket.socket) -> bool:
    """Take what has arrived on the socket of `watch`; return whether more may come. Raises OSError."""
    try:
        while link.recv(_ANSWER_BYTES):
            pass
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.ENOBUFS:  # more than it holds: something changed, which is all there is to know
            raise
        return True
    return False


def _opened() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, _ANSWER_US))
    link.bind((0, 0))
    return link


def _message(kind: int, content: bytes, flags: int = 0) -> bytes:
    return _bare(_SUBSYSTEM << 8 | kind, _FAMILY.pack(_INET, 0, 0) + content, _REQUEST | flags)


def _answered(message: bytes) -> bytes:
    """Return a message that the kernel answers, too, if it takes it: what it refuses, it always answers."""
    length, kind, flags, sequence, port = _HEADER.unpack_from(message)
    return _HEADER.pack(length, kind, flags | _ACK, sequence, port) + message[_HEADER.size :]


def _bare(kind: int, content: bytes, flags: int) -> bytes:
    return _HEADER.pack(_HEADER.size + len(content), kind, flags, 0, 0) + content


def _messages(said: bytes) -> Iterator[tuple[int, bytes]]:
    while len(said) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(said)
        if length < _HEADER.size:
            return
        yield kind, said[_HEADER.size : length]
        said = said[length + -length % 4 :]


def _is_taken(said: bytes) -> bool:
    """Whether these answers say that all was taken. Raises OSError if the kernel refused something."""
    for kind, payload in _messages(said):
        if kind == _ERROR:
            _refused(payload)
            return True
    return False


def _refused(payload: bytes) -> None:
    """Raise the OSError that an answer says, if it says one."""
    number = -int(struct.unpack_from("=i", payload)[0])
    if number:
        raise OSError(number, os.strerror(number))


def _attributes(said: bytes) -> Iterator[tuple[int, bytes]]:
    while len(said) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(said)
        if length < ATTRIBUTE.size:
            return
        yield kind & ~NESTED, said[ATTRIBUTE.size : length]
        said = said[length + -length % 4 :]
