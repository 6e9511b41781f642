"""Redact the secrets of this host, of an app and of a service from text about them."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from reconciler.planning.apps.app import App
from reconciler.planning.fingerprint import Json
from reconciler.planning.subject import Subject
from reconciler.services.records import ServiceRecords
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.secret_patterns import SHORTEST, redacted, secrets_in
from reconciler.vault.vault import VaultLocked


class Redactor:
    """Hides what an app receives: its secret variables, those from files, and its credentials for services.

    `desired` returns the apps by name, `environ` the variables of this host.
    """

    def __init__(
        self,
        service_records: ServiceRecords,
        files: EnvFiles,
        *,
        desired: Callable[[], Mapping[str, App]],
        environ: Callable[[], Mapping[str, str]],
    ) -> None:
        self._service_records = service_records
        self._files = files
        self._desired = desired
        self._environ = environ
        self._last: dict[Subject, tuple[App | None, str, str]] = {}

    def redacted(self, subject: Subject, text: str) -> str:
        """Return a text about a subject as it may be stored, shown, and leave this host."""
        if not text:
            return text
        app = self._desired().get(subject.name) if subject.kind == "app" else None
        last = self._last.get(subject)
        if last is None or last[0] is not app or last[1] != text:  # a state is reported over and over
            last = self._last[subject] = app, text, redacted(text, self._secrets(subject, app))
        return last[2]

    def _secrets(self, subject: Subject, app: App | None) -> frozenset[str]:
        found = _secrets_of(frozenset(self._environ().items())) | secrets_in(self._credentials(subject))
        if app is not None:
            found |= _secrets_of(frozenset(app.env.items())) | frozenset(self._in_files(app))
        return found

    def _in_files(self, app: App) -> Iterator[str]:
        """Yield each value with a file of its own, and of a file of many those that look secret."""
        versions, _, _ = self._files.of(app)
        found = {name: value for name, version in versions.items() for value in self._stored(version)}
        yield from (found[name] for name in found.keys() & app.env_files.keys() if len(found[name]) >= SHORTEST)
        yield from secrets_in(found)

    def _stored(self, version: str) -> Iterator[str]:
        try:
            yield self._service_records.vault.get(version)
        except (VaultLocked, sqlite3.Error):  # what cannot be decrypted was given to no app
            return

    def _credentials(self, subject: Subject) -> dict[str, str]:
        """Return the texts in the credentials of an app or a service, by their names there."""
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


@lru_cache(maxsize=64)
def _secrets_of(variables: frozenset[tuple[str, str]]) -> frozenset[str]:
    return secrets_in(dict(variables))


def _texts(value: Json, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{name} {key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{name} {index}")
