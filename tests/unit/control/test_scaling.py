"""Requests for a number of workers: what is refused, what is taken, and what is said."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.control.requests import NotFound, Refused
from reconciler.control.scaling import ScaleRequests
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import HeldWorkers, Observed
from reconciler.planning.scaling.worker_range import WorkerRange
from tests.world import an_app

RANGED = replace(an_app(), worker_range=WorkerRange(least=1, most=8))


@dataclass
class Host:
    """What is desired, what was requested of the World of apps, and what was journaled."""

    app: App
    requested: list[Any] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    held: HeldWorkers | None = None

    @property
    def catalog(self) -> Any:
        return SimpleNamespace(apps={self.app.name: self.app})

    def observe(self, name: str) -> Observed:
        return Observed(held_workers=self.held)

    def now(self) -> float:
        return 100.0

    def request(self, name: str, request: Any, who: str) -> None:
        self.requested.append(request)
        self.held = request if isinstance(request, HeldWorkers) else None

    def write(self, *event: Any) -> None:
        self.events.append(event)

    def ask(self, **fields: Any) -> str:
        host: Any = self
        grant = ScaleRequests(host, host, host).grants["scale"]
        return str(grant({"do": "scale", "app": self.app.name, **fields}, "eve")["done"])


def test_a_number_for_a_time_is_handed_to_the_world_with_its_end_and_journaled() -> None:
    host = Host(RANGED)
    said = host.ask(workers=6, **{"for": 7200})
    name = RANGED.name
    assert said == f"{name}: 6 workers for 2h, or until 'reconciler scale {name} auto'; its manifest says 1-8"
    (held,) = host.requested
    assert (held.workers, held.holds_for, held.for_s, held.until) == (6, "1-8", 7200.0, 7300.0)
    assert [event[3] for event in host.events] == ["requested by eve"]


def test_without_a_time_it_holds_until_the_manifest_changes_and_auto_ends_it() -> None:
    host = Host(an_app())
    assert "until 'workers' of its manifest changes" in host.ask(workers=3)
    assert host.held is not None
    assert (host.held.until, host.held.ends_at) == (None, None)
    assert "its manifest applies again: 1 worker" in host.ask(workers=None)
    assert "no operator has asked" in host.ask(workers=None)
    assert host.requested[1:] == ["scale"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"workers": 0}, "between 1 and 1000"),
        ({"workers": 1001}, "between 1 and 1000"),
        ({"workers": True}, "between 1 and 1000"),
        ({"workers": "6"}, "between 1 and 1000"),
        ({"workers": 2, "for": 0.5}, "between 1s and 30d"),
        ({"workers": 2, "for": float("nan")}, "between 1s and 30d"),
        ({"workers": 2, "for": True}, "between 1s and 30d"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(fields: dict[str, Any], why: str) -> None:
    host = Host(RANGED)
    with pytest.raises(Refused, match=why):
        host.ask(**fields)
    assert (host.requested, host.events) == ([], [])


def test_an_app_without_workers_of_its_own_is_refused_and_one_without_a_manifest_not_found() -> None:
    for app in (replace(RANGED, address=None), replace(RANGED, recipe=replace(RANGED.recipe, command=("serve",)))):
        with pytest.raises(Refused):
            Host(app).ask(workers=2)
    with pytest.raises(NotFound):
        Host(RANGED).ask(workers=2, app="other")
