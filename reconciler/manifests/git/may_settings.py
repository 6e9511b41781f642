"""Read the `may` of an origin's settings, already checked by its schema, as its fence."""

from collections.abc import Mapping
from typing import Any

from reconciler.planning.origins.may import May

_LISTS = ("paths", "hosts", "apps", "services", "servers", "repositories", "domains", "places")


def may_of(given: Mapping[str, Any]) -> May:
    """Return the fence; what is left out is as narrow as it is by default."""
    read: dict[str, Any] = {name: _all(given[name]) for name in _LISTS if name in given}
    if "ports" in given:
        read["ports"] = tuple(map(_range, _all(given["ports"])))
    if "secrets" in given:
        read["secrets"] = given["secrets"]
    if "commands" in given:
        read["commands"] = given["commands"]
    return May(**read)


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _range(port: int | str) -> range:
    first, _, last = str(port).partition("-")
    return range(int(first), int(last or first) + 1)
