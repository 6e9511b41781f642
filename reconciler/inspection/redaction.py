"""Redact the secrets of this host, of an app and of a service from text about them."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.planning.fingerprint import Json
from reconciler.planning.subject import Subject
from reconciler.services.records import GrantRecord, ServiceRecords
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.given_values import given_secrets, texts_in, written_secrets
from reconciler.vault.secret_patterns import redacted, secrets_in
from reconciler.vault.secret_texts import SecretTexts
from reconciler.vault.vault import VaultLocked

if TYPE_CHECKING:
    from reconciler.convergence.world import Report

_REVISIONS = 4
# Of subjects that were removed, so many are remembered: their last lines may still be read.
_REMOVED = 16


@dataclass(frozen=True, slots=True)
class _Known:
    """The secrets of a subject, and what they were gathered from."""

    sources: tuple[Any, ...]
    texts: SecretTexts


class Redactor:
    """Hides what an app receives, whatever its name: secret variables, those from files, credentials for services.

    What earlier revisions received stays hidden, as their instances may still print it. `desired` returns the apps by
    name, `environ` the variables of this host, `revisions` those that an app may go back to, `parts` the ids of what
    its processes and schedules took from files of their own.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        service_records: ServiceRecords,
        files: EnvFiles,
        *,
        desired: Callable[[], Mapping[str, App]],
        environ: Callable[[], Mapping[str, str]],
        revisions: Callable[[str], tuple[Revision, ...]] = lambda _: (),
        parts: Callable[[str], frozenset[str]] = lambda _: frozenset(),
    ) -> None:
        self._service_records = service_records
        self._files = files
        self._desired = desired
        self._environ = environ
        self._revisions = revisions
        self._parts = parts
        self._given: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {}
        self._known: dict[Subject, _Known] = {}
        self._last: dict[Subject, tuple[App | None, str, str]] = {}
        self._removed: dict[Subject, None] = {}

    def redacted(self, subject: Subject, text: str) -> str:
        """Return a text about a subject as it may be stored, shown, and leave this host."""
        if not text:
            return text
        app = self._desired().get(subject.name) if subject.kind == "app" else None
        last = self._last.get(subject)
        if last is None or last[0] is not app or last[1] != text:  # a state is reported over and over
            last = self._last[subject] = app, text, redacted(text, self.texts(subject))
        return last[2]

    def on_report(self, subject: Subject, report: "Report | None") -> None:
        """Forget a subject that was removed: what was made for it at once, what it received once others follow it."""
        self._removed.pop(subject, None)
        if report is not None:
            return
        self._forget_made(subject)
        self._removed[subject] = None
        if len(self._removed) > _REMOVED:
            oldest = next(iter(self._removed))
            del self._removed[oldest]
            self._forget_made(oldest)
            if oldest.kind == "app":
                self._given.pop(oldest.name, None)

    def give(self, revision: Revision) -> None:
        """Remember what an instance of this revision is about to receive."""
        self._removed.pop(Subject("app", revision.app), None)
        given = self._given.get(revision.app, ())
        if not any(known == revision.id for known, _ in given):
            self._given[revision.app] = (*given, (revision.id, self._in_revision(revision)))[-_REVISIONS:]
            self._forget_made(Subject("app", revision.app))

    def texts(self, subject: Subject) -> SecretTexts:
        """Return the secrets of a subject, gathered again only when their sources are others."""
        app = self._desired().get(subject.name) if subject.kind == "app" else None
        environ = self._environ()
        grants = tuple(grant.credentials for grant in self._grants(subject))
        versions = self._files.given(subject.name) if subject.kind == "app" else ()
        if subject.kind == "app" and (of_parts := self._parts(subject.name)):
            versions += tuple(("", kept) for kept in sorted(of_parts))
        revisions = self._revisions(subject.name) if subject.kind == "app" else ()
        sources = (app, environ, grants, versions, tuple(revision.id for revision in revisions))
        known = self._known.get(subject)
        if known is None or known.sources[0] is not app or known.sources[1:] != sources[1:]:
            found = set(_secrets_of(frozenset(environ.items()))) | given_secrets(self._credentials(*grants))
            found |= given_secrets(self._values(versions))
            if app is not None:
                for env in (app.env, *(part.env for part in app.parts)):
                    found |= written_secrets(env)
            for revision in revisions:
                found |= self._in_revision(revision)
            if subject.kind == "app":
                found.update(*(secrets for _, secrets in self._given.get(subject.name, ())))
            known = self._known[subject] = _Known(sources, SecretTexts(found))
        return known.texts

    def _forget_made(self, subject: Subject) -> None:
        self._known.pop(subject, None)
        self._last.pop(subject, None)

    def _in_revision(self, revision: Revision) -> frozenset[str]:
        credentials = self._credentials(*(bound.credentials for bound in revision.bindings))
        listed = frozenset(self._files.given(revision.app))  # the name of another tells nothing
        stored = [(name if (name, kept) in listed else "", kept) for name, kept in revision.env_secrets.items()]
        return written_secrets(revision.env) | given_secrets(self._values(stored) | credentials)

    def _values(self, versions: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return values from their ids in the vault; the last word of each name is the variable's, if it has one."""
        numbered = enumerate(versions)
        return {f"{n} {name}": value for n, (name, version) in numbered for value in self._stored(version)}

    def _stored(self, version: str) -> Iterator[str]:
        try:
            yield self._service_records.vault.get(version)
        except (VaultLocked, sqlite3.Error):  # what cannot be decrypted was given to no app
            return

    def _grants(self, subject: Subject) -> Iterator[GrantRecord]:
        """Yield the grants with credentials of an app or a service."""
        for service in self._service_records.services():
            for grant in service.grants:
                mine = Subject("app", grant.app), Subject("service", service.name)
                if grant.credentials is not None and subject in mine:
                    yield grant

    def _credentials(self, *versions: str | None) -> dict[str, str]:
        """Return the texts in credentials, by their names there."""
        found: dict[str, str] = {}
        for number, version in enumerate(versions):
            try:
                credentials: Json = {} if version is None else self._service_records.credentials(version)
            except (VaultLocked, sqlite3.Error, KeyError):
                continue
            found |= {f"{number} {name}": text for name, text in texts_in(credentials)}
        return found


@lru_cache(maxsize=64)
def _secrets_of(variables: frozenset[tuple[str, str]]) -> frozenset[str]:
    return secrets_in(dict(variables))
