"""The standing of an app: what is journaled of reports that follow each other."""

from typing import cast

from reconciler.convergence.world import Report
from reconciler.host.app_statuses import Standings
from reconciler.host.stores import Stores
from reconciler.state.records import AppStatus


class Kept:
    """Records and a journal, in memory."""

    def __init__(self) -> None:
        self.records = self
        self.kinds: list[str] = []
        self.statuses: list[AppStatus] = []

    def app_statuses(self) -> dict[str, AppStatus]:
        return {}

    def set_app_status(self, name: str, status: AppStatus) -> None:
        self.statuses.append(status)

    def record_event(self, name: str, kind: str, *_: str) -> None:
        self.kinds.append(kind)


def test_an_app_that_serves_for_a_moment_between_two_crashes_has_not_recovered() -> None:
    kept = Kept()
    standings = Standings(cast("Stores", kept), lambda _, __: None)
    for _ in range(3):
        standings.report("blog", Report(state="failing", failures=2))
        standings.report("blog", Report(state="running", settled=True), lasts=False)
    assert kept.kinds == []
    standings.report("blog", Report(state="running", settled=True))
    standings.report("blog", Report(state="running", settled=True))
    assert kept.kinds == ["recovered"]


def test_an_app_is_in_its_state_since_another_revision_serves() -> None:
    kept = Kept()
    standings = Standings(cast("Stores", kept), lambda _, __: None)
    standings.report("blog", Report(state="running", message="deploying"))
    standings.report("blog", Report(state="running", message="deployed"))
    standings.deployed("blog")
    standings.report("blog", Report(state="running", message="deployed"))
    standings.report("blog", Report(state="running"))
    first, second, third, fourth = (status.since for status in kept.statuses)
    assert first == second < third == fourth
