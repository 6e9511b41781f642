"""What is reported of an app while an action that failed is tried again, and what stays when nothing is any more."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.convergence.world import Report
from reconciler.host.app_statuses import Standings
from reconciler.host.stores import Stores
from reconciler.staging.progress import Phase
from reconciler.state.journal import Journal
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database

FAILED = Report(state="failing", message="no entry point", next_try_at=9.0, failures=1, failed_now=True)
RETRY = Report(state="failing", message="no entry point; trying again", failures=1, phase="trying again")


@pytest.fixture
def standings(tmp_path: Path) -> Iterator[Standings]:
    with closing(open_database(tmp_path / "db")) as database:
        records = Records(database)
        stores = Stores(records=records, journal=Journal(database), history=RevisionHistory(records, "boot"))
        yield Standings(stores, lambda _subject, _report: None)
        assert records.app_statuses()["blog"].message == "no entry point"


def test_work_on_a_retry_is_said_behind_the_failure_and_the_failure_is_the_last_word(standings: Standings) -> None:
    standings.report("blog", FAILED)
    standings.report("blog", RETRY)
    told = standings.progress("blog", Phase(activity="copying the source", elapsed_s=3), "staging", serves=False)
    assert told.message == "no entry point; trying again: copying the source (3 s)"
    standings.report("blog", told)
    standings.end()
