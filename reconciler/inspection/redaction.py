"""Redact secrets from text that leaves this host."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping

from reconciler.planning.desired import App
from reconciler.planning.fingerprint import Json
from reconciler.planning.subject import Subject
from reconciler.services.records import ServiceRecords
from reconciler.staging.environments.installer_env import secrets
from reconciler.staging.log import masked
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.vault import VaultLocked

_SHORTEST = 4


class Redactor:
    """Hides the secrets of an app: variables, values from secret files, and the credentials of its services.

    `desired` returns the desired apps by name, `ours` the environment variables of the daemon.
    """

    def __init__(
        self,
        service_records: ServiceRecords,
        files: EnvFiles,
        *,
        desired: Callable[[], Mapping[str, App]],
        ours: Callable[[], Mapping[str, str]],
    ) -> None:
        self._service_records = service_records
        self._files = files
        self._desired = desired
        self._ours = ours

    def redacted(self, subject: Subject, text: str) -> str:
        """Return a text about a subject as it may leave this host."""
        app = self._desired().get(subject.name) if subject.kind == "app" else None
        hidden = secrets(self._ours()) | secrets(self._opening(subject))
        if app is not None:
            hidden |= secrets(app.env) | frozenset(self._in_files(app))
        return masked(text, hidden)

    def _in_files(self, app: App) -> Iterator[str]:
        """Yield the values that have a file of their own, and those of a shared file that look secret."""
        keys, _, _ = self._files.of(app)
        found = {name: value for name, key in keys.items() for value in self._decrypted(key)}
        yield from (found[name] for name in found.keys() & app.env_files.keys() if len(found[name]) >= _SHORTEST)
        yield from secrets(found)

    def _decrypted(self, key: str) -> Iterator[str]:
        try:
            yield self._service_records.vault.get(key)
        except (VaultLocked, sqlite3.Error):  # an app cannot have got what cannot be decrypted
            return

    def _opening(self, subject: Subject) -> dict[str, str]:
        """Return the texts in the credentials of an app or a service, by their names."""
        found: dict[str, str] = {}
        for service in self._service_records.services():
            for grant in service.grants:
                if grant.credentials is not None and subject in {
                    Subject("app", grant.app),
                    Subject("service", service.name),
                }:
                    try:
                        credentials = self._service_records.credentials(grant.credentials)
                    except (VaultLocked, sqlite3.Error):
                        continue
                    found |= {f"{grant.id} {name}": text for name, text in _texts(credentials)}
        return found


def _texts(value: Json, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{name} {key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{name} {index}")
