"""Record each release of an app: when it began, what asked for it, what differs, and what became of it.

Nothing here decides anything, and nothing waits for it: the files that differ are found in a thread while an instance
starts, or later. An app that is not deployed costs nothing.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.host.release_commits import commit_of
from reconciler.host.request_effects import OperatorRequest
from reconciler.host.stores import Stores
from reconciler.planning.apps.actions import Action, Release, Stage, Start
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Failure, Override
from reconciler.planning.apps.revision import TREE_MARK, Revision
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.staging.concurrency import apart
from reconciler.state.paths import StatePaths
from reconciler.state.release_log import KEPT, Initiator, ReleaseRecord

if TYPE_CHECKING:  # what finds a difference is loaded with the first
    from reconciler.staging.differences import SourceDifference

_MOST_CHANGES = 40
_LONGEST_TEXT = 200
_LONGEST_FAILURE = 500
_PATIENCE_S = 0.5
# An instance that starts for one of these serves instead of what is desired.
_INSTEAD = frozenset((Reason.FALLEN_BACK, Reason.WAITING_FOR_INPUTS))


class ReleaseRecorder:
    """Records the releases of every app. A full disk costs a record, never an app anything."""

    def __init__(self, paths: StatePaths, stores: Stores) -> None:
        self._paths = paths
        self._stores = stores
        self._log = stores.records.release_log
        self._apps: dict[str, tuple[ReleaseRecord, ...]] = {}
        self._desired: Mapping[str, App] = {}
        self._requested: dict[str, str] = {}
        self._comparing: dict[str, asyncio.Future[SourceDifference | None]] = {}

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn what is desired, which says what commit a release comes with."""
        self._desired = apps

    def requested(self, name: str, request: OperatorRequest, who: str) -> None:
        """Note the operator whose request may lead to the next release of an app."""
        if isinstance(request, Override) or request == "start":
            self._requested[name] = who

    def begin(self, name: str, action: Action) -> None:
        """Record that work on a revision begins, unless it is one that was begun before and goes on."""
        if isinstance(action, Stage | Release | Start) and action.revision is not None:
            releases, instead = self._of(name), isinstance(action, Start) and action.reason in _INSTEAD
            if not self._is_known(name, action.revision, releases, instead=instead):
                self._begin(name, action.revision, action.reason, instead=instead)
        if isinstance(action, Start):
            self._compare(name, action.revision.build.id)

    def served(self, name: str, revision: str) -> None:
        """Record that a revision serves, and that no other one does."""
        at, found = _wall_clock(), self._newest(name, revision)
        for each in self._of(name) if found is not None else ():
            if each is found and not each.serves:
                served_at = at if each.served_at is None else each.served_at
                self._put(name, replace(each, served_at=served_at, served_until=None))
            elif each is not found and each.serves:
                self._put(name, replace(each, served_until=at))

    def failed(self, name: str, failure: Failure) -> None:
        """Record a failure; one of a known good revision, which crashed, says nothing about its release."""
        self._stores.record_failure(name, failure)
        found = self._newest(name, failure.revision)
        if found is not None and failure.kind == "rejected":
            # A daemon that starts counts anew how often a build could not be made; the release does not.
            count = found.failures + 1 if failure.phase == "staging" else failure.count
            self._failed(name, found, count, failure.reason)

    def rejected(self, name: str, failing: Failure, reason: str, now: float) -> None:
        """Record that a revision did not get as far as serving: the plan decides what follows from that."""
        failure = replace(failing, reason=reason, last_at=now)
        self.failed(name, failure)
        tries = f"try {failure.count}"
        if failure.phase == "staging":
            more = "; only an edit can fix it" if failure.retry == "never" else ""
            self._stores.record_event(name, "failed", reason, f"{tries}{more}", Reason.STAGING_FAILED)
        else:
            self._stores.record_event(name, "failed", f"revision {failure.revision}: {reason}", tries)

    async def cause_of(self, name: str, action: Start) -> str:
        """Return the cause of a start, with the files that differ if they are known within a moment."""
        if action.reason != Reason.SOURCE_CHANGED:
            return action.cause
        if (comparing := self._comparing.get(name)) is not None:
            await asyncio.wait((comparing,), timeout=_PATIENCE_S)
        found = self._newest(name, action.revision.id)
        if found is None:
            return action.cause
        from reconciler.staging.differences import restored

        difference = restored(found.files)
        return f"{action.cause}: {difference.summary}" if difference is not None and difference.files else action.cause

    async def before_removing(self, name: str, build: str) -> None:
        """Find the files that differ while the builds to compare are there."""
        for release in self._of(name):
            if not release.files and release.previous_build and build in {release.build, release.previous_build}:
                await self._find_files(name, release)

    def forget(self, name: str) -> None:
        """Forget an app that was removed; its records are erased with all others."""
        if (comparing := self._comparing.pop(name, None)) is not None:
            comparing.cancel()
        self._apps.pop(name, None)
        self._requested.pop(name, None)

    def _of(self, name: str) -> tuple[ReleaseRecord, ...]:
        if name not in self._apps:
            with contextlib.suppress(sqlite3.Error):
                self._apps[name] = self._log.of(name)
        return self._apps.get(name, ())

    def _newest(self, name: str, revision: str) -> ReleaseRecord | None:
        return next((each for each in self._of(name) if each.revision == revision), None)

    def _is_known(self, name: str, revision: Revision, releases: tuple[ReleaseRecord, ...], *, instead: bool) -> bool:
        """Tell whether a revision is that of the last release, or one that only serves again."""
        if instead:
            return any(each.revision == revision.id for each in releases)
        served = max((each for each in releases if each.served_at is not None), key=_served_until, default=None)
        if served is not None and served.revision == revision.id:
            return True
        last = next((each for each in releases if each.initiator != "daemon"), None)
        if last is not None:
            return last.revision == revision.id
        # It was deployed before releases were recorded.
        return self._stores.history.of(name).started_as(revision.id) is not None

    def _begin(self, name: str, revision: Revision, reason: Reason, *, instead: bool) -> None:
        releases, who = self._of(name), self._requested.pop(name, "")
        serving = next((each.revision for each in releases if each.serves), None)
        history = self._stores.history.of(name)
        previous = history.started_as(serving) if serving else next(iter((*history.started, *history.known_good)), None)
        if previous is not None and previous.id == revision.id:
            previous = None
        if who and not instead:
            reason = self._of_request(name, revision, releases) or reason
        by_operator = reason in {Reason.ROLLED_BACK_BY_OPERATOR, Reason.OVERRIDE_ENDED}
        initiator = _initiator(previous, revision, first=not releases)
        initiator = "daemon" if instead else "operator" if by_operator else initiator
        commit, subject = self._commit_of(name) if initiator not in {"operator", "daemon"} else ("", "")
        same_source = previous is not None and previous.build.content == revision.build.content
        release = ReleaseRecord(
            number=releases[0].number + 1 if releases else 1,
            revision=revision.id,
            build=revision.build.id,
            at=_wall_clock(),
            reason=str(reason),
            initiator=initiator,
            requested_by=who if initiator == "operator" else "",
            previous="" if previous is None else previous.id,
            previous_build="" if previous is None else previous.build.id,
            changes="" if previous is None else self._changes(name, previous, revision),
            files=_no_files() if same_source else "",
            git_commit=commit,
            git_subject=subject[:_LONGEST_TEXT],
        )
        self._put(name, release)

    def _commit_of(self, name: str) -> tuple[str, str]:
        with contextlib.suppress(sqlite3.Error):
            return commit_of(self._desired.get(name), self._paths, self._stores.records)
        return "", ""

    def _of_request(self, name: str, revision: Revision, releases: tuple[ReleaseRecord, ...]) -> Reason | None:
        """Return the reason of a release that an operator requested, None for one that only came after a request."""
        override = self._stores.history.of(name).override
        if override is not None:
            is_it = override.revision is not None and override.revision.build == revision.build
            return Reason.ROLLED_BACK_BY_OPERATOR if is_it else None
        rolled_back = bool(releases) and releases[0].reason == Reason.ROLLED_BACK_BY_OPERATOR
        return Reason.OVERRIDE_ENDED if rolled_back else None

    def _changes(self, name: str, previous: Revision, revision: Revision) -> str:
        from reconciler.host.revision_differences import changes

        found = [each for each in changes(previous, revision) if each.field != "source"]
        return json.dumps([[self._shown(name, part) for part in astuple(each)] for each in found[:_MOST_CHANGES]])

    def _shown(self, name: str, text: str | None) -> str | None:
        return None if text is None else self._redacted(name, text)[:_LONGEST_TEXT]

    def _redacted(self, name: str, text: str) -> str:
        return self._stores.journal.redacted(Subject("app", name), text)

    def _failed(self, name: str, release: ReleaseRecord, failures: int, reason: str) -> None:
        at = _wall_clock()
        changed = replace(
            release, failures=failures, failed_at=at, failure=self._redacted(name, reason)[:_LONGEST_FAILURE]
        )
        self._put(name, replace(changed, served_until=at) if release.serves else changed)

    def _put(self, name: str, release: ReleaseRecord) -> None:
        others = tuple(each for each in self._of(name) if each.number != release.number)
        newest_first = sorted((release, *others), key=lambda each: each.number, reverse=True)
        self._apps[name] = tuple(newest_first[:KEPT])
        with contextlib.suppress(sqlite3.Error):
            self._log.put(name, release)

    def _compare(self, name: str, build: str) -> None:
        """Begin to find the files in which the newest release differs, if that is not known."""
        release = next(iter(self._of(name)), None)
        if release is None or release.files or not release.previous_build or release.build != build:
            return
        if name in self._comparing:
            return
        with contextlib.suppress(RuntimeError):  # no thread can be started: it is found later
            self._comparing[name] = future = apart(partial(_difference, *self._builds(name, release)))
            future.add_done_callback(partial(self._on_compared, name, release.number))

    def _on_compared(self, name: str, number: int, future: "asyncio.Future[SourceDifference | None]") -> None:
        if self._comparing.get(name) is future:
            del self._comparing[name]
        if not future.cancelled() and future.exception() is None:
            self._put_files(name, number, future.result())

    async def _find_files(self, name: str, release: ReleaseRecord) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            found = await apart(partial(_difference, *self._builds(name, release)))
            self._put_files(name, release.number, found)

    def _builds(self, name: str, release: ReleaseRecord) -> tuple[Path, Path]:
        builds = self._paths.builds(name)
        return builds / release.previous_build, builds / release.build

    def _put_files(self, name: str, number: int, found: "SourceDifference | None") -> None:
        if found is not None:
            from reconciler.staging.differences import stored

            for each in self._of(name):  # it may have served or failed meanwhile
                if each.number == number:
                    self._put(name, replace(each, files=stored(found, partial(self._redacted, name))))


def _initiator(previous: Revision | None, revision: Revision, *, first: bool) -> Initiator:
    """Return what asked for a release, by what differs."""
    if previous is None:
        return "manifest" if first else ""
    by_source = previous.build.content != revision.build.content
    sources = previous.build.source, revision.build.source
    is_of_commits = all(source.pinned.startswith(TREE_MARK) for source in sources)
    alike = replace(
        revision,
        build=replace(revision.build, content=previous.build.content, source=sources[0 if is_of_commits else 1]),
        bindings=previous.bindings,
        env_secrets=previous.env_secrets,
    )
    named = [(tuple(bound.service for bound in each.bindings), {*each.env_secrets}) for each in (previous, revision)]
    if alike == previous and named[0] == named[1]:
        return "source" if by_source else "credentials"
    return "manifest and source" if by_source else "manifest"


def _no_files() -> str:
    """Return the record of a release with the same files as the one before."""
    from reconciler.staging.differences import SourceDifference, stored

    return stored(SourceDifference(), str)


def _difference(before: Path, after: Path) -> "SourceDifference | None":
    from reconciler.staging.differences import compare, tree_of_build

    trees = tree_of_build(before), tree_of_build(after)
    return None if trees[0] is None or trees[1] is None else compare(trees[0], trees[1])


def _served_until(release: ReleaseRecord) -> float:
    return float("inf") if release.served_until is None else release.served_until


def _wall_clock() -> float:
    return time.time()  # noqa: TID251  shown to people, never subtracted
