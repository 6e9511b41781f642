"""The standing of an app: what is journaled of reports that follow each other."""

from dataclasses import replace
from typing import cast

import pytest

from reconciler.convergence.world import Report
from reconciler.host.app_statuses import Standings
from reconciler.host.stores import Stores
from reconciler.planning.reason import Reason
from reconciler.state.records import AppStatus

FAILED = Report(
    state="failing", reason=Reason.ACTION_FAILED, message="no entry point", next_try_at=9.0, failures=1, failed_now=True
)
STAGING = Report(state="staging", reason=Reason.STAGING, message="copying the source", wanted="r")
RUNNING = Report(state="running", settled=True)


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


def test_an_app_rests_unless_it_is_unwell_or_has_not_recovered_for_good() -> None:
    standings = Standings(cast("Stores", Kept()), lambda _, __: None)
    assert not standings.rest("blog")
    standings.report("blog", RUNNING)
    assert standings.rest("blog")
    standings.report("blog", FAILED)
    assert not standings.rest("blog")
    standings.report("blog", RUNNING, lasts=False)
    assert not standings.rest("blog")
    standings.report("blog", RUNNING)
    assert standings.rest("blog")


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


def last_word(*reports: Report | None) -> AppStatus:
    """The status of an app that is stored after these reports and the end of the daemon."""
    kept = Kept()
    standings = Standings(cast("Stores", kept), lambda _, __: None)
    for report in reports:
        standings.forget("blog") if report is None else standings.report("blog", report)
    standings.end()
    assert kept.kinds.count("failed") == sum(report is not None and report.failed_now for report in reports)
    return kept.statuses[-1]


def test_when_the_daemon_ends_a_retry_under_way_leaves_the_failure_before_it() -> None:
    status = last_word(STAGING, FAILED, STAGING)
    assert (status.state, status.reason, status.message) == ("failing", "action-failed", "no entry point")
    assert (status.next_try_at, status.wanted) == (None, "r")


@pytest.mark.parametrize(
    "reports",
    [(STAGING,), (FAILED, RUNNING), (FAILED, RUNNING, STAGING), (FAILED, replace(FAILED, message="no module"))],
)
def test_what_was_said_last_stays_where_nothing_is_under_way_after_a_failure(reports: tuple[Report, ...]) -> None:
    assert last_word(*reports).message == reports[-1].message


def test_a_removed_app_that_comes_back_has_not_failed() -> None:
    assert last_word(FAILED, None, STAGING).state == "staging"
