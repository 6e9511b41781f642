"""What a daemon that is not root asks its warden for, of the rules of where apps may connect, as text between the two.

A table is read with nothing in it but users of apps, addresses and ports; one with another user is refused.
"""

import ipaddress
import json
import re
from typing import Any

from reconciler.linux.filter_packets import Destination
from reconciler.linux.filter_table import Chain, Table

LONGEST, PART = 4 << 20, 1 << 16  # a request, and what of it is sent at once
CHANGED = b"changed"  # is said to who watches
HOLDS, BUILDS = "holds", "builds"  # what a warden is asked that says what its rules hold besides apps
_HIGHEST_PORT = 65535
_MOST = 20_000  # of a table: the kernel takes up to a second for that many


def read(said: bytes) -> dict[str, Any]:
    """Return a request or an answer. Raises ValueError."""
    try:
        found = json.loads(said.decode())  # no other encoding, whose module may not be loaded
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004  of what was sent, not of an argument
    return found


def table_of(data: Any, users: range, opener: int) -> Table:
    """Return a table that holds these users at most, and sockets of the opener of listeners. Raises ValueError."""
    try:
        found = Table(
            chains=tuple(_chain(each, users) for each in data["chains"]),
            others=frozenset(_number(each, users) for each in data["others"]),
            builders=frozenset(_number(each, users) for each in data.get("builders", ())),
            listeners=frozenset(map(_place, data["listeners"])),
            places=frozenset(map(_place, data["places"])),
            own=frozenset((_number(user, users), *_place(place)) for user, *place in data["own"]),
            closed=tuple(map(_port, data["closed"])),
            beyond=tuple(str(ipaddress.ip_address(_text(each))) for each in data["beyond"]),
            never=_networks(data["never"]),
            opener=opener,
        )
    except (KeyError, TypeError) as error:
        raise ValueError("it is no table") from error
    sets = (found.others, found.builders, found.listeners, found.places, found.own, found.closed, found.beyond)
    if sum(map(len, sets)) + sum(1 + len(each.allowed) + len(each.never) for each in found.chains) > _MOST:
        raise ValueError(f"it has more than {_MOST} places and users")
    return found


def id_of(data: Any) -> str:
    """Return the id of a state directory. Raises ValueError."""
    if re.fullmatch(r"[0-9a-f]{16}", found := _text(data)):
        return found
    raise ValueError("it is no id of a state directory")


def name_of(user: int, identity: str) -> str:
    """Return the name of the table of a state directory of a user, which no table of another has."""
    return f"reconciler-{user}-{identity}"


def mark_of(data: Any) -> str:
    """Return the mark that a table is found by. Raises ValueError."""
    if re.fullmatch(r"[0-9a-f]{0,20}", found := _text(data)):
        return found
    raise ValueError("it is no mark of a table")


def _chain(data: Any, users: range) -> Chain:
    allowed, never = _networks(data["allowed"]), _networks(data["never"])
    return Chain(user=_number(data["user"], users), allowed=allowed, never=never, builds=data.get("builds") is True)


def _networks(data: Any) -> tuple[Destination, ...]:
    return tuple((str(ipaddress.ip_network(_text(host))) if host else "", _port(port)) for host, port in data)


def _place(data: Any) -> Destination:
    host, port = data
    return str(ipaddress.ip_address(_text(host))) if host else "", _port(port)


def _port(data: Any) -> int:
    return _number(data, range(_HIGHEST_PORT + 1))


def _number(data: Any, among: range) -> int:
    if type(data) is not int or data not in among:
        raise ValueError(f"{str(data)[:20]} is none of {among.start} to {among.stop - 1}")
    return data


def _text(data: Any) -> str:
    if not isinstance(data, str) or "%" in data:
        raise ValueError("it has something else in place of a text")
    return data
