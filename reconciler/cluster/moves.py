"""Know of each app whether it moves between a cluster and another place: this host, or another cluster."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import HERE, App

if TYPE_CHECKING:
    from reconciler.cluster.neighbours import PlaceNeighbours
    from reconciler.settings.clusters import Cluster


class Standings:
    """In which clusters each app serves, and is all there, as their Worlds say. `overlaps` are theirs, in seconds.

    `on_change` is called with the app and the cluster of which something else is true now.
    """

    def __init__(self, overlaps: Mapping[str, float]) -> None:
        self.on_change: list[Callable[[str, str], None]] = []
        self._overlaps = overlaps
        self._serves: dict[str, frozenset[str]] = {}
        self._stands: dict[str, frozenset[str]] = {}

    def note(self, app: str, cluster: str, *, serves: bool, stands: bool) -> None:
        """Take note of an app in a cluster."""
        changed = _put(self._serves, app, cluster, there=serves)
        if _put(self._stands, app, cluster, there=stands) or changed:
            for told in self.on_change:
                told(app, cluster)

    def serves_besides(self, app: str, cluster: str) -> str:
        """Return another cluster that an app serves in, "" for none."""
        return min(self._serves.get(app, _NOWHERE) - {cluster}, default="")

    def stands_in(self, app: str, cluster: str) -> bool:
        """Return whether all of an app is in a cluster that its manifest asks for there."""
        return cluster in self._stands.get(app, _NOWHERE)

    def overlap_s(self, *places: str) -> float:
        """Return how long an app that moves is to serve at both places: the longer one of what they say."""
        return max(self._overlaps.get(each, 0.0) for each in places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The other place of an app: `wanted_at` if it is to be there instead, `serves_at` if it serves there; "" for none.

    It is to serve at both for `overlap_s`, and does since `both_since`, monotonic seconds.
    """

    wanted_at: str = ""
    serves_at: str = ""
    overlap_s: float = 0.0
    both_since: float | None = None


class Moves:
    """The moves of apps between one cluster and other places."""

    def __init__(self, cluster: "Cluster", neighbours: "PlaceNeighbours") -> None:
        self._cluster = cluster.name
        self._neighbours = neighbours
        self._apps: Mapping[str, App] = {}
        self._both_since: dict[str, float] = {}

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn where apps are to run; one that goes elsewhere now begins another move."""
        before, self._apps = self._apps, apps
        for name in tuple(self._both_since):
            if name in apps and name in before and apps[name].place != before[name].place:
                del self._both_since[name]

    def of(self, name: str) -> Move:
        """Return the other place of an app: where it is to be instead, or else where it serves besides."""
        app = self._apps.get(name)
        if app is None:
            return _NONE
        wanted_at = ""
        if app.place == self._cluster:
            standings = self._neighbours.standings
            serves_at = HERE if self._neighbours.is_met_here(name) else standings.serves_besides(name, self._cluster)
        elif not app.recipe.web or self._neighbours.places.state(app) != "running":
            return _NONE  # no client waits for it
        else:
            wanted_at = app.place
            serves_at = wanted_at if self._serves(name, wanted_at) else ""
        if not (wanted_at or serves_at):
            return _NONE
        overlap_s = self._neighbours.standings.overlap_s(self._cluster, serves_at)
        return Move(
            wanted_at=wanted_at, serves_at=serves_at, overlap_s=overlap_s, both_since=self._both_since.get(name)
        )

    def serves_at_both(self, name: str, now: float) -> None:
        """Take note that an app serves at both places, from the first time on that this is said of a move."""
        self._both_since.setdefault(name, now)

    def forget(self, name: str) -> None:
        """Forget an app of which nothing is in the cluster."""
        self._both_since.pop(name, None)

    def _serves(self, name: str, place: str) -> bool:
        if place == HERE:
            return self._neighbours.answers_here(name)
        return self._neighbours.standings.stands_in(name, place)


_NOWHERE: frozenset[str] = frozenset()
_NONE = Move()


def _put(known: dict[str, frozenset[str]], app: str, cluster: str, *, there: bool) -> bool:
    """Have a cluster among those of an app, or not; return whether that is another one."""
    before = known.get(app, _NOWHERE)
    after = before | {cluster} if there else before - {cluster}
    if after:
        known[app] = after
    else:
        known.pop(app, None)
    return after != before
