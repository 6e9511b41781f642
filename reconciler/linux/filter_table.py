"""Say what a table of packet filter rules has: for some users what they may send to, for others what they may not."""

import ipaddress
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias
from zlib import crc32

from reconciler.linux.dataclass import dataclass
from reconciler.linux.filter_expressions import (
    ACCEPT,
    DIFFERENT,
    EQUAL,
    GOTO,
    JUMP,
    NETWORK_HEADER,
    OUTPUT_TYPE,
    PROTOCOL_FAMILY,
    RESET,
    RETURN,
    SKGID,
    SKUID,
    TRANSPORT_HEADER,
    WORD,
    among,
    attribute,
    chosen_by,
    compare,
    decide,
    meta,
    nest,
    number,
    payload,
    protocol,
    text,
    verdict,
)
from reconciler.linux.filter_packets import FAMILIES, TCP, UDP, Destination, first_packets, refusals, to_place

# Messages: what is asked for, its attributes, and flags.
Message: TypeAlias = tuple[int, bytes, int]

_CREATE, _APPEND = 0x400, 0x800
_NEW_TABLE, _NEW_CHAIN, _DELETE_CHAIN, _NEW_RULE, _DELETE_RULE = 0, 3, 5, 6, 8
_NEW_SET, _NEW_ELEMENTS, _DELETE_ELEMENTS = 9, 12, 14
_LOCAL_OUT = 3  # NF_INET_LOCAL_OUT
_BEFORE_TRANSLATION = -150  # packets have the address that the program gave, and not where the host's rules lead it
_VERDICT_TYPE, _IS_MAP = 0xFFFFFF00, 8
_DNS = 53
_LOOPBACK = 772  # ARPHRD_LOOPBACK: by it goes all that does not leave this host
_SOURCES = {4: 12, 6: 8}  # where that of the sender is
_MARK_BYTES = 32
_MOST_AT_ONCE = 1000  # elements: an attribute has 64 KiB
_BASE, _LISTENERS, _OTHERS, _BEYOND, _HERE = "output", "listeners", "others", "beyond", "here"
_BUILDS, _INSIDE = "builds", "inside"
USERS, GROUPS, MARK = "users", "groups", "mark"
_BUILDING = "building"
_OWNED = 0x2 | 0x4  # NFT_TABLE_F_OWNER and NFT_TABLE_F_PERSIST, since Linux 6.9
# Types as the nft program names them, to show a set; of several, each has six bits.
_STRING, _IPV4, _IPV6, _PORT, _USER, _GROUP = 5, 7, 8, 13, 24, 25
# Each set, with the type and the length of its keys.
_SETS = {
    USERS: (_USER, 4),
    GROUPS: (_GROUP, 4),
    _BUILDING: (_USER, 4),
    "ports-of-listeners": (_PORT, 2),
    "listeners-4": (_IPV4 << 6 | _PORT, 8),
    "listeners-6": (_IPV6 << 6 | _PORT, 20),
    "ports": (_PORT, 2),
    "places-4": (_IPV4 << 6 | _PORT, 8),
    "places-6": (_IPV6 << 6 | _PORT, 20),
    "own": (_USER << 6 | _PORT, 8),
    "own-4": (_USER << 12 | _IPV4 << 6 | _PORT, 12),
    "own-6": (_USER << 12 | _IPV6 << 6 | _PORT, 24),
    "beyond-4": (_IPV4, 4),
    "beyond-6": (_IPV6, 16),
    MARK: (_STRING, _MARK_BYTES),
}

SETS = tuple(each for each in _SETS if each != MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What one user of the host may send to: what is `allowed`, and nothing of `never`, which counts first.

    A connection that is open, and an answer to one, is let through. Of what is refused to all users of a table, a place
    with an address allows that; one of a port alone allows what listens there on this host. One that `builds` is of a
    group instead, which processes of opener and builder have, and says what these reach besides those of `builders`.
    """

    user: int
    allowed: tuple[Destination, ...] = ()
    never: tuple[Destination, ...] = ()
    builds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a table has: users with `chains`, and `others`, who may send to all but what is refused to every user of it.

    That is, by TCP, the `places` of this host, "" for any address of it, except what is a user's `own`; the `closed`
    ports of it, by UDP as well; and addresses `beyond`, of which port 53 may be asked. To `others`, nothing of `never`
    is allowed. From where `listeners` are bound, "" for any address, nothing connects: to the kernel a listener is the
    socket of its opener, no user of this table, and a program that was given one may connect by it. That holds sockets
    of one `opener`, or of all users without one. Processes of the opener, or of root, or of a user of `building`,
    that have one of the groups `builders` reach nothing of this host but port 53, and nothing `beyond`.
    """

    chains: tuple[Chain, ...] = ()
    others: frozenset[int] = frozenset()
    builders: frozenset[int] = frozenset()
    listeners: frozenset[Destination] = frozenset()
    places: frozenset[Destination] = frozenset()
    own: frozenset[tuple[int, str, int]] = frozenset()
    closed: tuple[int, ...] = ()
    beyond: tuple[str, ...] = ()
    never: tuple[Destination, ...] = ()
    opener: int | None = None
    building: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.chains or self.others or self.builders)

    @property
    def fixed(self) -> tuple[object, ...]:
        """What of it takes a new table: all but what is in sets, and the chains of users."""
        return self.closed, self.beyond, self.never, self.opener, bool(self.building)


def made(name: str, *, owned: bool) -> Message:
    """Return what makes a table of a name unless there is one, or has it `owned` by the socket that asks for that.

    No other program changes it then while that socket is open, and it stays when that is closed.
    """
    return _NEW_TABLE, text(1, name) + (number(2, _OWNED) if owned else b""), _CREATE


def contents(name: str, table: Table, mark: str, *, owned: bool) -> Iterator[Message]:
    """Yield what makes a table of this name, with everything in it."""
    named = text(1, name)
    yield made(name, owned=owned)
    hook = nest(4, number(1, _LOCAL_OUT) + attribute(2, struct.pack(">i", _BEFORE_TRANSLATION)))
    yield _NEW_CHAIN, named + text(3, _BASE) + hook + number(5, ACCEPT) + text(7, "filter"), _CREATE
    for chain in (_LISTENERS, _BEYOND, _HERE, _INSIDE, _OTHERS, _BUILDS, *map(_name, table.chains)):
        yield _NEW_CHAIN, named + text(3, chain), _CREATE
    for at, (each, (kind, length)) in enumerate(_SETS.items(), 1):
        leads = number(6, _VERDICT_TYPE) + number(7, 0) if each in (USERS, GROUPS) else b""
        of_set = number(3, _IS_MAP if leads else 0) + number(4, kind) + number(5, length) + leads + number(10, at)
        yield _NEW_SET, named + text(2, each) + of_set, _CREATE
    yield from _differences(named, {}, _elements(table))
    for chain, rule in _rules(table):
        yield _NEW_RULE, named + text(2, chain) + nest(4, rule), _CREATE | _APPEND
    yield _marking(named, mark, 0)


def changes(  # noqa: PLR0913  each is another part of a change
    name: str, before: Table, after: Table, mark: str, at: int, *, renew: bool
) -> Iterator[Message]:
    """Yield what makes one table of this name of another that is fixed in the same way.

    Former marks stay unless they are to `renew`, and the one that was given `at` the highest number counts: for what is
    removed the kernel waits a while.
    """
    named = text(1, name)
    had = {_name(chain): chain for chain in before.chains}
    for chain in after.chains:
        if _name(chain) not in had:
            yield _NEW_CHAIN, named + text(3, _name(chain)), _CREATE
        elif chain != had[_name(chain)]:
            yield _DELETE_RULE, named + text(2, _name(chain)), 0
        if chain != had.get(_name(chain)):
            for rule in _rules_of(chain):
                yield _NEW_RULE, named + text(2, _name(chain)) + nest(4, rule), _CREATE | _APPEND
    yield from _differences(named, _elements(before), _elements(after))  # they lead to chains
    kept = set(map(_name, after.chains))
    for chain in before.chains:
        if _name(chain) not in kept:
            yield _DELETE_RULE, named + text(2, _name(chain)), 0
            yield _DELETE_CHAIN, named + text(3, _name(chain)), 0
    if renew:
        yield _DELETE_ELEMENTS, named + text(2, MARK), 0
    yield _marking(named, mark, at)


def checksum(table: Table) -> int:
    """Return a number that is another one of a table with a rule more or less, or with another element in a set."""
    if not table:
        return 0
    elements = ((name, key, to) for name, some in _elements(table).items() for key, to in some.items())
    return sum_of(sum(1 for _ in _rules(table)), elements)


def sum_of(rules: int, elements: Iterable[tuple[str, bytes, str]]) -> int:
    """Return the checksum of so many rules, and of these elements of sets, each with the chain to which it leads."""
    return rules + sum(crc32(b"\0".join((name.encode(), to.encode(), key))) << 16 for name, key, to in elements)


def _marking(named: bytes, mark: str, at: int) -> Message:
    key = nest(1, attribute(1, f"{at:010} {mark}".encode()[:_MARK_BYTES].ljust(_MARK_BYTES, b"\0")))
    return _NEW_ELEMENTS, named + text(2, MARK) + nest(3, nest(1, key)), _CREATE


def mark_in(keys: Iterable[bytes]) -> str:
    """Return the mark that counts of those that a table has, "" without any."""
    return max(keys, default=b"").rstrip(b"\0").decode(errors="replace").partition(" ")[2]


@lru_cache(maxsize=2)  # that of the one before is asked for once more
def _elements(table: Table) -> Mapping[str, Mapping[bytes, str]]:
    """Return the elements of each set, each with the chain to which it leads, if it is one of a map."""
    found: dict[str, dict[bytes, str]] = {each: {} for each in _SETS}
    for user in sorted(table.others):
        found[USERS][_user(user)] = _OTHERS
    for group in sorted(table.builders):
        found[GROUPS][_user(group)] = _BUILDS
    for chain in table.chains:
        found[GROUPS if chain.builds else USERS][_user(chain.user)] = _name(chain)
    for places, of_one, of_any in (
        (table.listeners, "listeners", "ports-of-listeners"), (table.places, "places", "ports"),
    ):  # fmt: skip
        for host, port in places:
            version, packed = _packed(host)
            found[f"{of_one}-{version}" if version else of_any][packed + (_word if version else _port)(port)] = ""
    for user, host, port in table.own:
        version, packed = _packed(host)
        found[f"own-{version}" if version else "own"][_user(user) + packed + _word(port)] = ""
    for user in table.building:
        found[_BUILDING][_user(user)] = ""
    for address in table.beyond:
        version, packed = _packed(address)
        found[f"beyond-{version}"][packed] = ""
    return found


@lru_cache(maxsize=1024)  # most apps listen at few addresses
def _packed(address: str) -> tuple[int, bytes]:
    """Return the version of an address, and its bytes; 0 and none for any."""
    if not address:
        return 0, b""
    found = ipaddress.ip_address(address)
    return found.version, found.packed


def _user(user: int) -> bytes:
    return user.to_bytes(4, sys.byteorder)


def _port(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _word(port: int) -> bytes:
    """Return a port as it is behind others in a key."""
    return _port(port) + bytes(2)


def _differences(
    named: bytes, before: Mapping[str, Mapping[bytes, str]], after: Mapping[str, Mapping[bytes, str]]
) -> Iterator[Message]:
    for name, elements in after.items():
        had = before.get(name, {})
        gone = [nest(1, nest(1, attribute(1, key))) for key in had if elements.get(key) != had[key]]
        new = [
            nest(1, nest(1, attribute(1, key)) + (nest(2, verdict(GOTO, to)) if to else b""))
            for key, to in elements.items()
            if had.get(key) != to
        ]
        for kind, flags, some in ((_DELETE_ELEMENTS, 0, gone), (_NEW_ELEMENTS, _CREATE, new)):
            for at in range(0, len(some), _MOST_AT_ONCE):
                yield kind, named + text(2, name) + nest(3, b"".join(some[at : at + _MOST_AT_ONCE])), flags


def _rules(table: Table) -> Iterator[tuple[str, bytes]]:
    """Yield the expressions of each rule, in order, each with its chain.

    A group alone would not do: an app that no rule knows by its user has it, too.
    """
    opened = b"" if table.opener is None else meta(SKUID) + compare(_user(table.opener))
    yield _BASE, first_packets(EQUAL) + opened + decide(JUMP, _LISTENERS)
    yield from ((_LISTENERS, rule) for rule in _from_listeners())
    yield _BASE, meta(SKUID) + chosen_by(USERS)
    for builds in (compare(_user(table.opener or 0)), *([among(_BUILDING)] if table.building else [])):
        yield _BASE, meta(SKUID) + builds + meta(SKGID) + chosen_by(GROUPS)
    yield from ((_BEYOND, rule) for rule in _beyond())
    yield from ((_HERE, rule) for rule in _here(table.closed))
    yield from ((_INSIDE, rule) for rule in _inside())
    yield from ((_OTHERS, rule) for rule in _others(table.never))
    yield from ((_BUILDS, rule) for rule in _built((), table.never))
    for chain in table.chains:
        yield from ((_name(chain), rule) for rule in _rules_of(chain))


@lru_cache(maxsize=512)  # one list is edited, and the table has those of all apps
def _rules_of(chain: Chain) -> tuple[bytes, ...]:
    return tuple(_built(chain.allowed, chain.never) if chain.builds else _listed(chain))


def _name(chain: Chain) -> str:
    return f"{'builds' if chain.builds else 'user'}-{chain.user}"


def _from_listeners() -> Iterator[bytes]:
    yield payload(TRANSPORT_HEADER, 0, 2) + among("ports-of-listeners") + RESET
    for version, (family, _, length) in FAMILIES.items():
        source = payload(NETWORK_HEADER, _SOURCES[version], length, WORD)
        bound = source + payload(TRANSPORT_HEADER, 0, 2, WORD + length // 4)
        of_family = meta(PROTOCOL_FAMILY) + compare(bytes([family]))
        yield of_family + bound + among(f"listeners-{version}", WORD) + RESET


def _open_or_never(never: Sequence[Destination]) -> Iterator[bytes]:
    """Yield what lets connections through that are open, and refuses what is never allowed."""
    yield first_packets(DIFFERENT) + decide(ACCEPT)
    for each in never:
        yield from refusals(to_place(each))


def _others(never: Sequence[Destination]) -> Iterator[bytes]:
    yield from _open_or_never(never)
    yield decide(JUMP, _BEYOND)
    yield decide(JUMP, _HERE)


def _listed(chain: Chain) -> Iterator[bytes]:
    yield from _open_or_never(chain.never)
    groups: tuple[list[Destination], ...] = ([], [], [])
    for each in chain.allowed:
        groups[2 if is_any(each) else 0 if each[0] else 1].append(each)
    for group, kept in zip(groups, (_BEYOND, _HERE, ""), strict=True):
        for each in group:
            for to in to_place(each):
                yield to + decide(ACCEPT)
        if kept and any(groups[1:] if kept == _BEYOND else groups[2]):
            yield decide(JUMP, kept)
    yield from refusals((b"",))


def _built(allowed: Iterable[Destination], never: Sequence[Destination]) -> Iterator[bytes]:
    yield from _open_or_never(never)
    some = [each for each in allowed if not is_any(each)]
    for here, fence in ((False, _BEYOND), (True, _INSIDE)):
        for each in some:
            if here != bool(each[0]):
                yield from (to + decide(ACCEPT) for to in to_place(each))
        yield decide(JUMP, fence)


def is_any(place: Destination) -> bool:
    """Whether a place is all there is, or all of one version of the protocol, maybe at one port of that."""
    return place == ("", 0) or place[0].endswith("/0")


def _beyond() -> Iterator[bytes]:
    for each in (TCP, UDP):
        yield protocol(each) + payload(TRANSPORT_HEADER, 2, 2) + compare(_port(_DNS)) + decide(RETURN)
    for version, (family, at, length) in FAMILIES.items():
        address = meta(PROTOCOL_FAMILY) + compare(bytes([family])) + payload(NETWORK_HEADER, at, length)
        yield from refusals((address + among(f"beyond-{version}"),))


def _inside() -> Iterator[bytes]:
    yield meta(OUTPUT_TYPE) + compare(_LOOPBACK.to_bytes(2, sys.byteorder), DIFFERENT) + decide(RETURN)
    yield from (to + decide(RETURN) for to in to_place(("", _DNS)))
    yield from refusals((b"",))


def _here(closed: Sequence[int]) -> Iterator[bytes]:
    port = payload(TRANSPORT_HEADER, 2, 2)
    yield meta(OUTPUT_TYPE) + compare(_LOOPBACK.to_bytes(2, sys.byteorder), DIFFERENT) + decide(RETURN)
    yield meta(SKUID, WORD) + payload(TRANSPORT_HEADER, 2, 2, WORD + 1) + among("own", WORD) + decide(RETURN)
    for each in closed:
        yield from refusals(to_place(("", each)))
    yield protocol(TCP) + port + among("ports") + RESET
    for version, (family, at, length) in FAMILIES.items():
        of_family = protocol(TCP) + meta(PROTOCOL_FAMILY) + compare(bytes([family]))
        address = payload(NETWORK_HEADER, at, length, WORD + 1)
        at_port = address + payload(TRANSPORT_HEADER, 2, 2, WORD + 1 + length // 4)
        yield of_family + meta(SKUID, WORD) + at_port + among(f"own-{version}", WORD) + decide(RETURN)
        yield of_family + at_port + among(f"places-{version}", WORD + 1) + RESET
