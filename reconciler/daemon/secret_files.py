"""The files that variables and credentials come from: which ones to watch, and what to read when one changes."""

import os
import sqlite3
from collections import Counter
from functools import cached_property, partial

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeRoutes
from reconciler.host.stores import Stores
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.processes.process import key_of
from reconciler.services.types.user_provided.files import files_of
from reconciler.services.world import ServiceWorld
from reconciler.settings.settings import Settings
from reconciler.vault.secret_reader import SecretReader
from reconciler.vault.watched_files import Use


class SecretFiles:
    """Reads the files of every app and user-provided service again when they may have changed.

    A file may be encrypted, so every one is read again when an identity of this host may have changed.
    """

    def __init__(
        self, settings: Settings, services: ServiceWorld, stores: Stores, wakeups: WakeRoutes, tasks: StandingTasks
    ) -> None:
        self._reader = SecretReader(settings)
        self._settings = settings
        self._services = services
        self._stores = stores
        self._wakeups = wakeups
        self._tasks = tasks
        self._desired: DesiredState | None = None
        self._due: Counter[str] = Counter()
        self._first_seen: set[str] = set()

    @cached_property
    def _identities(self) -> frozenset[str]:
        from reconciler.vault.encryption.identities import identity_files  # a host without secret files has no need

        return frozenset(map(str, identity_files(self._settings.identities, os.environ)))

    def follow(self, desired: DesiredState) -> frozenset[Use]:
        """Learn what is desired, and return every file that is read for it, with what it is read for."""
        self._desired = desired
        of_apps = frozenset(use for app in desired.apps.values() for use in self._services.env_files.uses(app))
        of_services = frozenset((path, f"service {s.name}") for s in desired.services.values() for path in files_of(s))
        if not of_apps and not of_services:
            return frozenset()
        return of_apps | of_services | {(path, "encrypted files") for path in self._identities}

    def is_being_read(self, app: str) -> bool:
        """Return whether the files of an app's variables are being read."""
        return self._due[app] > 0

    def suspect(self, path: str) -> None:
        """Read what depends on a file again, as the file may have changed."""
        if self._desired is None or self._is_first_look(path):
            return
        for service in self._desired.services.values():
            if self._concerns(path, files_of(service)):
                self._services.rotation.rebind(service.name, f"{path} may have changed")
        for app in self._desired.apps.values():
            if self._concerns(path, self._services.env_files.paths(app)):
                self._due[app.name] += 1
                self._tasks.keep(f"read the variables of {app.name}", partial(self._read, app.name))

    def _is_first_look(self, path: str) -> bool:
        """Return whether an identity was never looked at: what it opens is being read then for being new."""
        if path not in self._identities or path in self._first_seen:
            return False
        self._first_seen.add(path)
        return True

    def _concerns(self, path: str, files: frozenset[str]) -> bool:
        return path in files or (path in self._identities and bool(files))

    async def _read(self, name: str) -> None:
        await self._refresh(name)
        self._due[name] -= 1

    async def _refresh(self, name: str) -> None:
        app = None if self._desired is None else self._desired.apps.get(name)
        if app is None:
            return
        try:
            changed = await self._services.env_files.refresh(app, self._reader)
        except sqlite3.Error as error:
            self._stores.record_event(name, "secrets", f"cannot store what its files say: {error}")
            return
        if changed:
            problems = self._services.env_files.problems(app)
            text = "; ".join(problems) or "the files of its variables were read again"
            self._stores.record_event(name, "secrets", text)
            self._wakeups.wake(name)
            for process in app.processes:
                if process.env_files:
                    self._wakeups.wake(key_of(name, process.name))
