"""When the daemon ends, the last failure of an app is its last word, and no work is under way."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.convergence.world import Report
from reconciler.daemon.unfinished import Unfinished
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus, Records
from reconciler.state.schema import open_database

BLOG = Subject("app", "blog")
FAILED = Report(
    state="failing", reason=Reason.ACTION_FAILED, message="no entry point", next_try_at=9.0, failures=1, failed_now=True
)
STAGING = Report(state="staging", reason=Reason.STAGING, message="copying the source")
RUNNING = Report(state="running", settled=True)


def last_word(place: Path, *reports: Report | None) -> AppStatus:
    """The status of an app that is stored after these reports and the end of the daemon."""
    unfinished = Unfinished()
    with closing(open_database(StatePaths(state=place).database)) as database:
        records = Records(database)
        for report in reports:
            unfinished.on_report(BLOG, report)
            if report is not None:
                status = AppStatus(
                    state=report.state, reason=report.reason, message=report.message, wanted="r", since=1.0,
                    next_try_at=report.next_try_at,
                )  # fmt: skip
                records.set_app_status("blog", status)
        unfinished.conclude(records)
        return records.app_statuses()["blog"]


def test_a_retry_under_way_leaves_the_failure_before_it(tmp_path: Path) -> None:
    status = last_word(tmp_path, STAGING, FAILED, STAGING)
    assert (status.state, status.reason, status.message) == ("failing", "action-failed", "no entry point")
    assert (status.next_try_at, status.wanted) == (None, "r")


@pytest.mark.parametrize(
    "reports",
    [(STAGING,), (FAILED, RUNNING), (FAILED, RUNNING, STAGING), (FAILED, replace(FAILED, message="no module"))],
)
def test_what_was_said_last_stays_where_nothing_is_under_way_after_a_failure(
    tmp_path: Path, reports: tuple[Report, ...]
) -> None:
    assert last_word(tmp_path, *reports).message == reports[-1].message


def test_a_removed_app_that_comes_back_has_not_failed(tmp_path: Path) -> None:
    assert last_word(tmp_path, FAILED, None, STAGING).state == "staging"
