"""What of the state directory the World of apps reads and writes."""

import contextlib
import sqlite3
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.observed import Failure
from reconciler.planning.subject import Subject
from reconciler.state.journal import EventKind, Journal
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Records of what is there now, the history of revisions, and the journal of events."""

    records: Records
    history: RevisionHistory
    journal: Journal

    def record_failure(self, app: str, failure: Failure) -> None:
        """Record the failure of a revision, its reason without secrets: plans and states quote it."""
        reason = self.journal.redacted(Subject("app", app), failure.reason)
        self.history.failed(app, replace(failure, reason=reason))

    def record_event(  # noqa: PLR0913  what an event says
        self, app: str, kind: EventKind, text: str, cause: str = "", reason: str = "", *, process: str = ""
    ) -> None:
        """Write an event of an app into the journal; a full disk costs the journal a line, never an app its restart."""
        with contextlib.suppress(sqlite3.Error):
            self.journal.write(Subject("app", app), kind, text, cause, reason, process=process)
