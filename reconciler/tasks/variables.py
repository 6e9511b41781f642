"""Supply the tasks of a schedule with its variables: those that its manifest says, and secrets from files of its own.

Which secrets a task is given is on record before it has them, as it may print them long after there are newer ones.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace

from reconciler.host.app_places import AppPlaces, Place
from reconciler.planning.schedules.schedule import Schedule
from reconciler.serving.live_instance import CannotStart
from reconciler.state.records import Records

# The aspect of an app's history that holds them.
_ASPECT = "secrets of tasks"
_MOST_GIVEN = 32


class GivenSecrets:
    """The ids of the secrets that tasks of each app were given of late; if the disk is full, in memory only."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._given: dict[str, tuple[str, ...]] = {}
        for app, text in records.history_of(_ASPECT).items():
            with contextlib.suppress(TypeError, ValueError):  # written by another version
                self._given[app] = tuple(map(str, json.loads(text)))

    def of(self, app: str | None = None) -> frozenset[str]:
        """Return those of an app, or of all."""
        found = self._given.values() if app is None else (self._given.get(app, ()),)
        return frozenset(kept for each in found for kept in each)

    def give(self, app: str, secrets: Iterable[str]) -> None:
        """Record the ids of secrets that a task is about to have."""
        before = self._given.get(app, ())
        new = tuple(kept for kept in secrets if kept not in before)
        if new:
            self._given[app] = (*before, *new)[-max(_MOST_GIVEN, len(new)) :]
            with contextlib.suppress(sqlite3.Error):
                self._records.set_history(app, _ASPECT, json.dumps(self._given[app]))

    def forget(self, app: str) -> None:
        """Forget those of an app that was removed."""
        if self._given.pop(app, None) is not None:
            with contextlib.suppress(sqlite3.Error):
                self._records.set_history(app, _ASPECT, None)


class ScheduleVariables:
    """The variables of schedules beside those of their apps."""

    def __init__(self, places: AppPlaces, records: Records) -> None:
        self._places = places
        self.given = GivenSecrets(records)

    def added(self, place: Place, schedule: Schedule | None) -> Place:
        """Return a place with the variables of a schedule, if it has any. Raises CannotStart."""
        if schedule is None or not (schedule.env or schedule.env_files):
            return place
        ids, lacking, _ = self._places.variables_of(schedule.app, schedule)
        if lacking:
            raise CannotStart("; ".join(lacking))
        self.given.give(schedule.app, ids.values())
        return replace(place, own={**schedule.env, **self._places.values_of(ids)})
