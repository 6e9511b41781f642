"""Know of each app whether clients are to be led to a cluster, and whether the proxy of this host does so."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from reconciler.cluster.entries import entry_of
from reconciler.cluster.ownership import Seen
from reconciler.linux.dataclass import dataclass
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.routing.route import Entry, Led
from reconciler.settings.clusters import Cluster

_STANDS = frozenset((Reason.NONE, Reason.SERVING_AT_BOTH, Reason.DOMAINS_CHANGED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Where clients of an app are led to in a cluster, None if that is not known; `away` from this host already."""

    entry: Entry | None = None
    away: bool = False


_NO_LEAD = Lead()


class Leads:
    """The apps that are in a cluster, or may be, as the proxy of this host is to lead clients to them.

    `led` says what the proxy does; `on_move` is called when it is to do something else. An address that was found in
    the cluster is kept by `note`, and stays in use while the cluster cannot be looked at, also by another daemon.
    """

    def __init__(self, cluster: Cluster, note: Callable[[str, Mapping[str, Any]], None]) -> None:
        self.led: Callable[[str], Led] = lambda _: "nowhere"
        self.on_move: Callable[[], None] = lambda: None
        self.waiting: set[str] = set()
        self._cluster = cluster
        self._note = note
        self._known: dict[str, Lead] = {}
        self._led_since: dict[str, tuple[Led, float]] = {}
        self._stands_since: dict[str, float] = {}

    def of(self, name: str) -> Lead | None:
        """Return how clients of an app are led to this cluster, None for one of which nothing is there."""
        return self._known.get(name)

    def restore(self, name: str, noted: Mapping[str, Any]) -> None:
        """Take what was noted of an app that may be in the cluster."""
        found = entry_of(self._cluster, name, {})
        if found is None and self._cluster.entry and noted.get("entry"):
            with suppress(TypeError):  # another version has written it: it is found again
                found = Entry(**{**noted["entry"], "place": self._cluster.name})
        self._known[name] = Lead(entry=found)

    def led_since(self, name: str, now: float, *, asked: bool) -> tuple[Led, float]:
        """Return where the proxy leads the clients of an app, and since when as far as that was `asked` for."""
        led = self.led(name) if asked else "nowhere"
        if led == "nowhere":
            self._led_since.pop(name, None)
            return led, 0.0
        before = self._led_since.get(name)
        if before is None or before[0] != led:
            before = self._led_since[name] = led, now
        return before

    def stands_since(self, name: str) -> float | None:
        """Return since when an app is all there, None if it is not; monotonic seconds."""
        return self._stands_since.get(name)

    def take(
        self, name: str, planned: Plan[Any], seen: Mapping[tuple[str, str], Seen], now: float, *, placed: bool
    ) -> None:
        """Take what is planned for an app of which something is there, and what is seen of it.

        Clients are led away a drain after it is all there: so long may what leads to its pods take to hear of them.
        """
        waits = planned.reason is Reason.DOMAINS_CHANGED
        (self.waiting.add if waits else self.waiting.discard)(name)
        before = self._known.get(name, _NO_LEAD)
        entry = entry_of(self._cluster, name, seen) or before.entry
        stands = placed and planned.reason in _STANDS
        if stands:
            heard_at = self._stands_since.setdefault(name, now) + self._cluster.drain_s
            away = now >= heard_at if entry is not None else planned.reason is not Reason.SERVING_AT_BOTH
        else:
            self._stands_since.pop(name, None)
            away = False
        lead = Lead(entry=entry, away=away)
        if name in self._known and lead == before:
            return
        self._known[name] = lead
        if entry is not None and entry != before.entry and self._cluster.entry in {"ingress", "service"}:
            with suppress(OSError):  # a full disk costs what another daemon knows before it has looked
                self._note(name, asdict(entry))
        self.on_move()

    def forget(self, name: str) -> None:
        """Forget an app of which nothing is there any more."""
        self.waiting.discard(name)
        self._led_since.pop(name, None)
        self._stands_since.pop(name, None)
        if self._known.pop(name, None) is not None:
            self.on_move()
