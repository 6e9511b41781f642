"""What the next daemon has to know of the rules of this one: whom they hold, to what, and the addresses of names.

The file is there while the kernel may have rules. It is our own; one that cannot be read says nothing.
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import UnfitFile, read_record
from reconciler.planning.isolation.destinations import Destination, Place, place_of

_LONGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How an app is held: its user, None if it is only about to have one, its places, and where it listens itself.

    Without a list of `places` it is held from what is refused to every app. `servers` are the ports of those that it
    binds. What builds it has the daemon's user and that `group`, None if it is not held. Of this host, and of what is
    refused to every app, it reaches the places, and those `of_builds`, such as an index of packages.
    """

    user: int | None
    places: tuple[Place, ...] | None
    listens: tuple[Destination, ...] = ()
    servers: tuple[int, ...] = ()
    group: int | None = None
    of_builds: tuple[Place, ...] = ()


def written(held: Mapping[str, Held], addresses: Mapping[str, Iterable[str]]) -> str:
    """Write who is held to what, and the addresses of names, as text."""
    apps = {
        name: {
            "user": each.user,
            "places": None if each.places is None else list(map(str, each.places)),
            "listens": each.listens,
            "servers": each.servers,
        }
        for name, each in held.items()
    }
    return json.dumps({"apps": apps, "addresses": {name: sorted(found) for name, found in addresses.items()}})


def read(file: Path) -> tuple[dict[str, Held], dict[str, tuple[str, ...]]]:
    """Return what `written` wrote to a file, as far as it can be read. Blocks."""
    try:
        stored = read_record(file, _LONGEST)
    except (OSError, ValueError, UnfitFile):
        return {}, {}
    apps, addresses = _within(stored, "apps"), _within(stored, "addresses")
    held = {}
    for name, each in apps.items():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            user, places = each["user"], each["places"]
            held[name] = Held(
                user=None if user is None else int(user),
                places=None if places is None else tuple(map(place_of, places)),
                listens=tuple((host and str(ipaddress.ip_address(host)), int(port)) for host, port in each["listens"]),
                servers=tuple(map(int, each["servers"])),
            )
    known = {}
    for name, found in addresses.items():
        with suppress(ValueError, TypeError):
            known[name] = tuple(str(ipaddress.ip_address(each)) for each in found)
    return held, known


def _within(stored: Any, name: str) -> dict[str, Any]:
    found = stored.get(name) if isinstance(stored, dict) else None
    return found if isinstance(found, dict) else {}
