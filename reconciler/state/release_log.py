"""The releases of each app: which revision was to serve when, why, what differed, and what became of it.

A release is written when work on its revision begins and again whenever something becomes of it. The newest few of an
app are kept.
"""

from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.state.database import Database
from reconciler.state.table import Table

# Of each app. One takes less than 4 KiB, usually a tenth of it.
KEPT = 25

# What asked for a release. A release of before they were recorded has none.
Initiator: TypeAlias = Literal["manifest", "source", "manifest and source", "credentials", "operator", "daemon", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """One release of an app; times are wall-clock seconds.

    `number` counts the releases of the app. `requested_by` is the user of the operator that asked for it, empty without
    one. `previous` is the revision that served before, `previous_build` its build, both empty when nothing did or it is
    not known. `changes` are the fields that differ from it and `files` the files of the source, as JSON, each empty
    while it is not known. `served_at` is when it first served, `served_until` when it last stopped to, None while it
    serves. It failed `failures` times, at last at `failed_at` for the reason `failure`, which is redacted. It came with
    the commit `git_commit`, of which `git_subject` is the subject; both are empty where it came from no repository.
    """

    number: int
    revision: str
    build: str
    at: float
    reason: str
    initiator: str
    requested_by: str = ""
    previous: str = ""
    previous_build: str = ""
    changes: str = ""
    files: str = ""
    served_at: float | None = None
    served_until: float | None = None
    failures: int = 0
    failure: str = ""
    failed_at: float | None = None
    git_commit: str = ""
    git_subject: str = ""

    @property
    def serves(self) -> bool:
        """Whether it was the last to serve, as far as is recorded."""
        return self.served_at is not None and self.served_until is None


_RELEASES = Table("app_release", ReleaseRecord)


class ReleaseLog:
    """Reads and writes the releases of apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, app: str) -> tuple[ReleaseRecord, ...]:
        """Return the releases of an app that are kept, the newest first. Raises sqlite3.Error."""
        return tuple(_RELEASES.rows(self._database, "WHERE app = ? ORDER BY number DESC", (app,)))

    def put(self, app: str, release: ReleaseRecord) -> None:
        """Write a release, new or changed; a new one takes the place of the oldest that is kept."""
        key = ("app_release", app, release.number)
        self._database.write(key, *_RELEASES.put(release, app=app))
        if release.number > KEPT:
            oldest = ("app_releases", app)
            statement = "DELETE FROM app_release WHERE app = ? AND number <= ?"
            self._database.write(oldest, statement, (app, release.number - KEPT))
