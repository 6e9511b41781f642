"""What is to be told to somebody outside in; the same without the secrets of this host and of who it is about out."""

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
    """Hides what an app was given: its own secret variables, what its files say, and what opens its services.

    `asked` are the apps by name, `ours` the variables of this host.
    """

    def __init__(
        self,
        service_records: ServiceRecords,
        files: EnvFiles,
        *,
        asked: Callable[[], Mapping[str, App]],
        ours: Callable[[], Mapping[str, str]],
    ) -> None:
        self._service_records = service_records
        self._files = files
        self._asked = asked
        self._ours = ours

    def redacted(self, subject: Subject, text: str) -> str:
        """Return a text about a subject as it may leave this host."""
        app = self._asked().get(subject.name) if subject.kind == "app" else None
        hidden = secrets(self._ours()) | secrets(self._opening(subject))
        if app is not None:
            hidden |= secrets(app.env) | frozenset(self._in_files(app))
        return masked(text, hidden)

    def _in_files(self, app: App) -> Iterator[str]:
        """A value with a file of its own is secret; one of many in a file is when it looks so."""
        kept, _, _ = self._files.of(app)
        found = {name: value for name, key in kept.items() for value in self._kept(key)}
        yield from (found[name] for name in found.keys() & app.env_files.keys() if len(found[name]) >= _SHORTEST)
        yield from secrets(found)

    def _kept(self, key: str) -> Iterator[str]:
        try:
            yield self._service_records.vault.get(key)
        except (VaultLocked, sqlite3.Error):  # what cannot be opened was given to nobody
            return

    def _opening(self, subject: Subject) -> dict[str, str]:
        """The texts in the credentials of an app or a service, by the name they have there."""
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
