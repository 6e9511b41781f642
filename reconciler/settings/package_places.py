"""Say where on this host packages come from, as the variables of installers name an index or a proxy there."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from reconciler.planning.isolation.destinations import Place, place_of
from reconciler.settings.settings import Settings

_NAMED = re.compile(r"((UV|PIP)_.*(INDEX|INDEX_URL|LINKS|PROXY)|(HTTPS?|ALL)_PROXY)", re.IGNORECASE | re.ASCII)
_ADDRESS = re.compile(r"(?:https?|socks[45][ah]?)://[^\s,]+", re.IGNORECASE | re.ASCII)
_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080


def package_places(settings: Settings, environ: Mapping[str, str]) -> tuple[Place, ...]:
    """Return the addresses and ports at which these variables, and those of the settings, have packages come from.

    A host by its name is none of them, unless it is `localhost`.
    """
    given = {**environ, **{name: value for name, value in settings.staging_env.items() if isinstance(value, str)}}
    found = (_ADDRESS.findall(value) for name, value in given.items() if _NAMED.fullmatch(name))
    return tuple(dict.fromkeys(place for some in found for address in some for place in _places(address)))


def _places(address: str) -> Iterator[Place]:
    with suppress(ValueError):
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), _SOCKS_PORT)
        for each in ("127.0.0.1", "::1") if host == "localhost" else (host,):
            place = place_of(f"[{each}]:{port}" if ":" in each else f"{each}:{port}")
            if place.network:
                yield place
