"""Give the kernel a table of packet filter rules, all of it at once, and read back what it has: nf_tables by netlink.

A table is replaced as one transaction: packets meet the former rules or the next, and tables of others are not touched.
The numbers are those of linux/netfilter/nf_tables.h.
"""

import errno
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 10
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 1, 4, 0x300, 0x400, 0x800
_ERROR, _DONE, _BATCH_BEGIN, _BATCH_END = 2, 3, 0x10, 0x11
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _NEW_SET, _NEW_ELEMENTS = 0, 2, 3, 6, 9, 12
_GET_RULE, _GET_GENERATION = 7, 16
_INET = 1  # NFPROTO_INET: both versions of the protocol
_NESTED = 0x8000
_ACCEPT, _JUMP, _GOTO = 1, -3, -4
_VERDICT_TYPE, _IS_MAP = 0xFFFFFF00, 8
_HEADER, _FAMILY, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct(">BBH"), struct.Struct("=HH")
_ANSWER_BYTES, _ANSWER_S = 1 << 16, 5.0
_SNDBUFFORCE = 32  # of socket(7): a transaction is sent as a whole, whatever its length
_OUTPUT = 3  # NF_INET_LOCAL_OUT
_BEFORE_TRANSLATION = -150  # packets have the address that the program gave, and not where the host's rules lead it
_SKUID, _PROTOCOL_FAMILY, _TRANSPORT = 10, 15, 16
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_EQUAL, _DIFFERENT = 0, 1
_MAP = "users"
_BASE = "output"
_LISTENERS = "listeners"
_FAMILIES = {4: (2, 16, 4), 6: (10, 24, 16)}  # NFPROTO_IPV4 and IPV6; where the address is in the header, its length
_SYN, _SYN_ACK, _FLAGS_AT = 0x02, 0x12, 13
_TCP, _UDP = 6, 17
_RESET, _UNREACHABLE, _PROHIBITED = 1, 2, 3
_COMMENT = b"\0"
_GROUP = 1 << (7 - 1)  # NFNLGRP_NFTABLES


# Where packets may go: a network as text, "" for any, and a port, 0 for any.
Destination: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What one user of the host may send to: what is `allowed`, and nothing of `never`, which counts first.

    A connection that is open, and an answer to one, is let through.
    """

    user: int
    allowed: tuple[Destination, ...] = ()
    never: tuple[Destination, ...] = ()


def replace(table: str, chains: Sequence[Chain], mark: str, listeners: Sequence[int] = ()) -> None:
    """Replace a table by one with these chains, or remove it if there are none; `mark` is found by `mark_of`.

    From the ports of `listeners`, bound by number, nothing connects: to the kernel a listener is the socket of its
    opener, no user of these chains, and a program that was given one may connect by it. Raises OSError.
    """
    messages = [_message(_NEW_TABLE, _text(1, table), _CREATE), _message(_DELETE_TABLE, _text(1, table))]
    if chains:
        messages += _table(table, chains, mark, listeners)
    begin, end = (_bare(kind, _FAMILY.pack(0, 0, _SUBSYSTEM), _REQUEST) for kind in (_BATCH_BEGIN, _BATCH_END))
    *others, last = messages
    batch = b"".join((begin, *others, _answered(last), end))
    with _opened() as link:
        link.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, 2 * len(batch) + _ANSWER_BYTES)
        link.send(batch)
        while not _is_taken(link.recv(_ANSWER_BYTES)):
            pass


def generation() -> int:
    """Return a number that is another one once any table of this network has been changed. Raises OSError."""
    with _opened() as link:
        link.send(_bare(_SUBSYSTEM << 8 | _GET_GENERATION, _FAMILY.pack(0, 0, 0), _REQUEST))
        for kind, payload in _messages(link.recv(_ANSWER_BYTES)):
            if kind == _ERROR:
                _refused(payload)
            return int.from_bytes(dict(_attributes(payload[_FAMILY.size :])).get(1, b""), "big")
    return 0


def mark_of(table: str) -> tuple[str, int]:
    """Return the mark that a table was made with, and how many rules it has by now; "" and 0 without one.

    Raises OSError.
    """
    found, count = "", 0
    with _opened() as link:
        link.send(_bare(_SUBSYSTEM << 8 | _GET_RULE, _FAMILY.pack(_INET, 0, 0) + _text(1, table), _REQUEST | _DUMP))
        while True:
            for kind, payload in _messages(link.recv(_ANSWER_BYTES)):
                if kind == _DONE:
                    return found, count
                if kind == _ERROR:
                    try:
                        _refused(payload)
                    except FileNotFoundError:
                        return "", 0
                fields = dict(_attributes(payload[_FAMILY.size :]))
                if fields.get(1, b"").rstrip(b"\0").decode(errors="replace") != table:
                    continue
                count += 1
                said = fields.get(7, b"")
                if said[:1] == _COMMENT:
                    found = said[2:].rstrip(b"\0").decode(errors="replace")


def rules_in(chains: Sequence[Chain], listeners: Sequence[int] = ()) -> int:
    """Return how many rules a table of these chains has."""
    return 2 + len(listeners) + sum(len(list(_rules(each))) for each in chains) if chains else 0


def watch() -> socket.socket:
    """Return a socket that is readable whenever a table of this network has been changed. Raises OSError."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
    try:
        link.bind((0, _GROUP))
    except BaseException:
        link.close()
        raise
    return link


def drain(link: socket.socket) -> None:
    """Take what has arrived on the socket of `watch`, whatever it says."""
    try:
        while link.recv(_ANSWER_BYTES):
            pass
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno != errno.ENOBUFS:  # more than it holds: something changed, which is all there is to know
            raise


def _opened() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    link.settimeout(_ANSWER_S)
    link.bind((0, 0))
    return link


def _table(table: str, chains: Sequence[Chain], mark: str, listeners: Sequence[int]) -> Iterator[bytes]:
    named = _text(1, table)
    yield _message(_NEW_TABLE, named, _CREATE)
    hook = _nest(4, _number(1, _OUTPUT) + _attribute(2, struct.pack(">i", _BEFORE_TRANSLATION)))
    yield _message(_NEW_CHAIN, named + _text(3, _BASE) + hook + _number(5, _ACCEPT) + _text(7, "filter"), _CREATE)
    for name in (_LISTENERS, *map(_name, chains)):
        yield _message(_NEW_CHAIN, named + _text(3, name), _CREATE)
    of_set = _number(3, _IS_MAP) + _number(4, 0) + _number(5, 4) + _number(6, _VERDICT_TYPE) + _number(7, 0)
    yield _message(_NEW_SET, named + _text(2, _MAP) + of_set + _number(10, 1), _CREATE)
    for each in chains:
        key = _nest(1, _attribute(1, each.user.to_bytes(4, sys.byteorder)))
        element = _nest(1, key + _nest(2, _verdict(_GOTO, _name(each))))
        yield _message(_NEW_ELEMENTS, named + _text(2, _MAP) + _nest(3, element), _CREATE)
    first = _first_packets(_EQUAL) + _decide(_JUMP, _LISTENERS)
    yield _message(_NEW_RULE, named + _text(2, _BASE) + _nest(4, first), _CREATE | _APPEND)
    for port in listeners:
        refused = _payload(_TRANSPORT_HEADER, 0, 2) + _compare(port.to_bytes(2, "big")) + _RESET_COUNTED
        yield _message(_NEW_RULE, named + _text(2, _LISTENERS) + _nest(4, refused), _CREATE | _APPEND)
    said = mark.encode() + b"\0"
    chosen = _meta(_SKUID) + _expression("lookup", _text(1, _MAP) + _number(2, 1) + _number(3, 0) + _number(4, 1))
    comment = _attribute(7, _COMMENT + bytes([len(said)]) + said)
    yield _message(_NEW_RULE, named + _text(2, _BASE) + _nest(4, chosen) + comment, _CREATE | _APPEND)
    for each in chains:
        for rule in _rules(each):
            yield _message(_NEW_RULE, named + _text(2, _name(each)) + _nest(4, rule), _CREATE | _APPEND)


def _name(chain: Chain) -> str:
    return f"user-{chain.user}"


def _rules(chain: Chain) -> Iterator[bytes]:
    """Yield the expressions of each rule of a chain, in order."""
    yield _first_packets(_DIFFERENT) + _decide(_ACCEPT)
    for each in chain.never:
        yield from _refusals(_to(each))
    for each in chain.allowed:
        for to in _to(each):
            yield to + _decide(_ACCEPT)
    yield from _refusals((b"",))


def _first_packets(how: int) -> bytes:
    """Return what matches the packets of TCP that begin a connection, or all others of TCP."""
    flags = _payload(_TRANSPORT_HEADER, _FLAGS_AT, 1) + _mask(bytes([_SYN_ACK]))
    return _protocol(_TCP) + flags + _compare(bytes([_SYN]), how)


def _refusals(places: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what refuses at once: by TCP as a closed port does, and else in the words of the sender's own error."""
    prohibited = _expression("reject", _number(1, _UNREACHABLE) + _attribute(2, bytes([_PROHIBITED])))
    for to in places:
        yield _protocol(_TCP) + to + _RESET_COUNTED
        yield to + _COUNTED + prohibited


def _to(place: Destination) -> Iterator[bytes]:
    """Yield what matches packets to a place: once, or for each protocol that has ports."""
    text, port = place
    where = b""
    if text:
        network = ipaddress.ip_network(text)
        family, at, length = _FAMILIES[network.version]
        where = _meta(_PROTOCOL_FAMILY) + _compare(bytes([family])) + _payload(_NETWORK_HEADER, at, length)
        where += _mask(network.netmask.packed) + _compare(network.network_address.packed)
    if not port:
        yield where
        return
    for protocol in (_TCP, _UDP):
        at_port = _payload(_TRANSPORT_HEADER, 2, 2) + _compare(port.to_bytes(2, "big"))
        yield where + _protocol(protocol) + at_port


def _protocol(number: int) -> bytes:
    return _meta(_TRANSPORT) + _compare(bytes([number]))


def _meta(key: int) -> bytes:
    return _expression("meta", _number(2, key) + _number(1, 1))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, 1) + _number(2, base) + _number(3, offset) + _number(4, length))


def _mask(mask: bytes) -> bytes:
    values = _nest(4, _attribute(1, mask)) + _nest(5, _attribute(1, bytes(len(mask))))
    return _expression("bitwise", _number(1, 1) + _number(2, 1) + _number(3, len(mask)) + values)


def _compare(value: bytes, how: int = _EQUAL) -> bytes:
    return _expression("cmp", _number(1, 1) + _number(2, how) + _nest(3, _attribute(1, value)))


def _decide(code: int, chain: str = "") -> bytes:
    return _expression("immediate", _number(1, 0) + _nest(2, _verdict(code, chain)))


def _verdict(code: int, chain: str = "") -> bytes:
    return _nest(2, _attribute(1, struct.pack(">i", code)) + (_text(2, chain) if chain else b""))


def _expression(name: str, content: bytes) -> bytes:
    return _nest(1, _text(1, name) + _nest(2, content))


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(-length % 4)


def _nest(kind: int, content: bytes) -> bytes:
    return _attribute(kind | _NESTED, content)


def _number(kind: int, number: int) -> bytes:
    return _attribute(kind, number.to_bytes(4, "big"))


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


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
    while len(said) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(said)
        if length < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, said[_ATTRIBUTE.size : length]
        said = said[length + -length % 4 :]


_COUNTED = _expression("counter", b"")
_RESET_COUNTED = _COUNTED + _expression("reject", _number(1, _RESET) + _attribute(2, b"\0"))
