"""The addresses of the names in lists of where apps connect to, looked up again and again.

A server that answers for a name is trusted with no more than that: neither with the time nor with the memory of this
host, nor with what is near.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.own_addresses import is_own
from reconciler.linux.regular_files import UnfitFile, read_file
from reconciler.planning.isolation.destinations import KEPT_S, trusted
from reconciler.planning.isolation.refused import METADATA
from reconciler.planning.wording import listed

WITHIN_S = 10.0
_LATE_WITHIN_S = 1.0
_RESOLVERS, _HOSTS = Path("/etc/resolv.conf"), Path("/etc/hosts")
_LONGEST_FILE = 1 << 20
_AT_ONCE = 4
# Of one answer, and of those that still count: the rules of all apps are one table.
_MOST_ADDRESSES, _MOST_KEPT = 64, 256


class Names:
    """Names, and the addresses that count; `resolve` blocks, and `tell` is told of answers that do not count.

    Those that did not answer in time are asked beside the others, and not waited for as long: no app's names keep those
    of another from being looked up.
    """

    def __init__(
        self, resolve: Callable[[str], Iterable[str]], tell: Callable[[str], None], known: Mapping[str, Iterable[str]]
    ) -> None:
        """Begin with addresses that are known."""
        self._resolve = resolve
        self._tell = tell
        now = time.monotonic()
        self._known = {name: dict.fromkeys(found, now) for name, found in known.items()}
        self._late: set[str] = set()
        self._told: dict[str, str] = {}
        self._threads, self._patient = _threads(), _threads()

    def addresses(self) -> dict[str, list[str]]:
        """Return the addresses that count."""
        return {name: sorted(found) for name, found in self._known.items()}

    async def look_up(self, of_apps: Iterable[Collection[str]]) -> None:
        """Look up the names of apps, the first of each first; one that cannot be keeps the addresses that it had."""
        turns = [(turn, name) for names in of_apps for turn, name in enumerate(sorted(names))]
        names = dict.fromkeys(name for _, name in sorted(turns))
        late = [name for name in names if name in self._late]
        prompt = sorted((name for name in names if name not in self._late), key=lambda name: name not in self._known)
        begun: set[str] = set()
        asked = self._ask(self._threads, prompt, begun) | self._ask(self._patient, late, begun)
        for some, within_s in ((prompt, WITHIN_S), (late, _LATE_WITHIN_S)):
            if some:
                await asyncio.wait([asked[name] for name in some], timeout=within_s)
        own = named_here()
        for name, answer in asked.items():
            if answer.done() and answer.exception() is None:
                self._take(name, answer.result(), own)
            answer.cancel()
        answered = {name for name, answer in asked.items() if not answer.cancelled()}
        if any(name in begun for name in prompt if name not in answered):
            self._threads = _threads()  # those of the former are busy with what does not answer
        self._late = (self._late & names.keys() | begun.copy()) - answered
        for gone in self._known.keys() - names.keys():
            del self._known[gone]

    def _ask(
        self, threads: DaemonThreads, names: Iterable[str], begun: set[str]
    ) -> "dict[str, asyncio.Future[list[str]]]":
        """Have names looked up, in this order; one whose turn has come is added to what has begun."""
        return {name: asyncio.wrap_future(threads.run(partial(self._few, name, begun))) for name in names}

    def _few(self, name: str, begun: set[str]) -> list[str]:
        """Return the addresses of a name, as many as count of one answer. Blocks."""
        begun.add(name)
        return sorted(set(self._resolve(name)))[:_MOST_ADDRESSES]

    def _take(self, name: str, found: list[str], own: frozenset[str]) -> None:
        now = time.monotonic()
        kept = trusted(name, found, own)
        if not _is_of_this_host(name, own):
            kept = frozenset(each for each in kept if each not in METADATA and not is_own(each))
        self._tell_of(name, sorted({each.partition("%")[0] for each in found} - kept))
        before = {address: at for address, at in self._known.get(name, {}).items() if at > now - KEPT_S}
        newest = sorted((before | dict.fromkeys(kept, now)).items(), key=lambda each: each[1], reverse=True)
        self._known[name] = dict(newest[:_MOST_KEPT])

    def _tell_of(self, name: str, left_out: list[str]) -> None:
        said = listed(left_out)
        if said and self._told.get(name) != said:
            self._tell(f"{name} in network.connect leads to {said}, which counts only for names in /etc/hosts")
        self._told[name] = said


def resolve(name: str) -> list[str]:
    """Return the addresses of a name, as this host finds them. Blocks; raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


def resolvers() -> list[str]:
    """Return the addresses of the resolvers that this host's programs ask."""
    found = [words[1] for words in _words(_RESOLVERS) if words[0] == "nameserver" and len(words) > 1]
    return [address.partition("%")[0] for address in found if _is_address(address.partition("%")[0])] or ["127.0.0.1"]


def named_here() -> frozenset[str]:
    """Return the names that this host's own file of hosts has."""
    return frozenset(name.lower() for words in _words(_HOSTS) for name in words[1:])


def _threads() -> DaemonThreads:
    return DaemonThreads("look up", _AT_ONCE)


def _is_of_this_host(name: str, own: frozenset[str]) -> bool:
    return name == "localhost" or name.endswith(".localhost") or name in own


def _words(path: Path) -> list[list[str]]:
    try:
        text = read_file(path, _LONGEST_FILE).decode(errors="replace")
    except (OSError, UnfitFile):
        return []
    return [words for line in text.splitlines() if (words := line.partition("#")[0].split())]


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return True
    return False
