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
from reconciler.planning.isolation.destinations import Place, place_of

_LONGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How an app is held: its user, None if it is only about to have one, its places, and the ports it listens at."""

    user: int | None
    places: tuple[Place, ...]
    ports: tuple[int, ...] = ()


def written(held: Mapping[str, Held], addresses: Mapping[str, Iterable[str]]) -> str:
    """Write who is held to what, and the addresses of names, as text."""
    apps = {
        name: {"user": each.user, "places": list(map(str, each.places)), "ports": each.ports}
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
            places, ports = tuple(map(place_of, each["places"])), tuple(map(int, each["ports"]))
            held[name] = Held(user=None if each["user"] is None else int(each["user"]), places=places, ports=ports)
    known = {}
    for name, found in addresses.items():
        with suppress(ValueError, TypeError):
            known[name] = tuple(str(ipaddress.ip_address(each)) for each in found)
    return held, known


def _within(stored: Any, name: str) -> dict[str, Any]:
    found = stored.get(name) if isinstance(stored, dict) else None
    return found if isinstance(found, dict) else {}
