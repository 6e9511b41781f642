"""The release commands of each app: run once for what they depend on, and recorded for good."""

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial

from reconciler.host.stores import Stores
from reconciler.planning.apps.actions import Release
from reconciler.planning.subject import Subject
from reconciler.serving.programs.gunicorn import Code
from reconciler.settings.settings import Settings
from reconciler.staging.progress import Phase
from reconciler.staging.release import ReleaseCommand, run_release


class AppReleases:
    """The release commands that were run, by app."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._journal = stores.journal
        self._records = stores.records
        self._done: dict[str, frozenset[str]] = self._records.releases()

    def of(self, name: str) -> frozenset[str]:
        """Return the marks of an app's release commands that were run."""
        return self._done.get(name, frozenset())

    async def run(
        self, name: str, action: Release, code: Code, environment: Mapping[str, str], progress: Callable[[Phase], None]
    ) -> None:
        """Run a release command to its end, and record that. Raises StagingError when it fails."""
        assert action.revision.release is not None
        command = ReleaseCommand(
            app=name,
            command=action.revision.release,
            directory=code.directory,
            environment=environment,
            log=self._settings.paths.log(name, "staging"),
            timeout_s=self._settings.staging_timeout_s,
        )
        await run_release(command, progress, partial(self._journal.redacted, Subject("app", name)))
        try:
            with self._records.lasting():
                self._records.add_release(name, action.release)
        except sqlite3.Error:  # it was run, and a full disk does not make it run again
            self._records.add_release(name, action.release)
        self._done[name] = self.of(name) | {action.release}

    def forget(self, name: str) -> None:
        """Forget the release commands of an app that was removed."""
        self._done.pop(name, None)
