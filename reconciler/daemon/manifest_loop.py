"""Follow the manifests: look at every origin when it is time, and hand what is desired to each World.

What a look finds out is written down and journaled; a look that this host cannot do now is done again soon.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Protocol

from reconciler.convergence.ticks import until_tick
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.daemon.secret_files import SecretFiles
from reconciler.documents.problem import Problem
from reconciler.host.manifest_rules import rules_of
from reconciler.host.stores import Stores
from reconciler.linux.inotify import WatchFailure, WatchProblem
from reconciler.manifests import persisted
from reconciler.manifests.catalog import Catalog, review, unless_replaced
from reconciler.manifests.half_written import HalfWritten
from reconciler.manifests.manifest_file import ManifestFile
from reconciler.manifests.origin import Listing, Look, Origin, Unreadable
from reconciler.manifests.sources_in_git import SourcesInForce
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST, Subject
from reconciler.settings.settings import Settings
from reconciler.staging.source.watches import SourceWatches
from reconciler.vault.watched_files import Files

_AGAIN_S = 5.0
# Why one source alone is not watched, and until when.
_UNTIL = {WatchFailure.STORM: "until it rests", WatchFailure.TOO_LARGE: "as long as it does"}
# Every so manieth look that nothing makes due happens though nothing can have changed unseen.
_SELDOM = 10
# An error may be told a moment later than a deploy begins.
_QUIET_S = 1.0
_MOST_TOLD = 200  # of one file at once: all of a journal is no answer


class Follower(Protocol):
    """What is told of every change of desired state."""

    def follow(self, desired: DesiredState) -> None:
        """Make this desired state true from now on."""
        ...


class ManifestLoop:
    """The desired state of this host, followed until cancelled.

    `look_now` makes a look due; `looked` is set once a look is done and no other is due. `followers` are told of every
    change, in this order.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        app_wakeups: WakeQueue,
        secret_files: SecretFiles,
        followers: Sequence[Follower],
    ) -> None:
        self._settings = settings
        self._records = stores.records
        self._journal = stores.journal
        self._app_wakeups = app_wakeups
        self._secret_files = secret_files
        self.followers = followers
        self._rules = rules_of(settings)
        self.look_now = asyncio.Event()
        self.looked = asyncio.Event()
        self._written = persisted.Written()
        self.catalog = persisted.restored(self._records, self._rules)
        self._unreadable_apps = persisted.apps_of_unreadable(self._records, self.catalog)
        self._looks: Sequence[Look] = ()
        self._stored, self._is_stored, self._is_followed = self.catalog, True, False
        self._removed: set[str] = set()
        self._confirmed = False
        self._half_written = HalfWritten(_QUIET_S, settings.longest_s)
        self._origins: Sequence[Origin] = ()
        self._is_looking = True
        self._obstacle = self._unwatched = ""
        self._reads_files = self._unheard = False
        self._told_alone: set[str] = set()

    @property
    def problem(self) -> str:
        """Why the manifests cannot be followed just now, empty when they can."""
        unreadable = (look.origin for look in self._looks if isinstance(look, Unreadable) or self._is_replaced(look))
        return self._obstacle or next((f"cannot read the manifests in {origin}" for origin in unreadable), "")

    @property
    def is_current(self) -> bool:
        """Whether all that was noticed of the manifests, and every look that was requested, is in effect."""
        behind = self._is_looking or self.look_now.is_set() or self._half_written.due_at is not None
        return not behind and not any(origin.is_unsettled for origin in self._origins)

    @property
    def unreadable_apps(self) -> Mapping[str, object]:
        """The apps whose manifests cannot be read, so that nothing is done about them."""
        return self._unreadable_apps

    def keep_ports(self, ports: dict[str, int]) -> None:
        """Let each app that runs keep its port, even if its lease was lost, or never written to a full disk."""
        leases = self.catalog.leases
        lost = {n: p for n, p in ports.items() if p in self._settings.ports and p not in leases.values()}
        self.catalog = replace(self.catalog, leases={**lost, **leases}, is_reviewed=False)

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Free the port of an app that was removed."""
        if subject.kind == "app" and report is None:
            self._removed.add(subject.name)
            self.look_now.set()

    def _is_replaced(self, look: Look) -> bool:
        return isinstance(look, Listing) and isinstance(unless_replaced(self.catalog, look), Unreadable)

    def confirm(self) -> bool:
        """Take the origins as they are at the next look, soon; return whether anything waits for that."""
        if not any(self._is_replaced(look) for look in self._looks):
            return False
        self._confirmed = True
        self.look_now.set()
        return True

    def tell(self, follower: Follower) -> None:
        """Tell one more of every change of desired state from now on."""
        self.followers = (*self.followers, follower)

    def take_sources(self, sources: SourcesInForce) -> None:
        """Let apps take their sources in repositories from these commits, soon."""
        self._rules = replace(self._rules, sources=sources)
        self._is_followed = False
        self.look_now.set()

    def look_again(self) -> None:
        """Look at the manifests without waiting for a change; `looked` is set once that is done."""
        self.looked.clear()
        self.look_now.set()

    async def run(self, origins: Sequence[Origin], trees: SourceWatches, files: Files) -> None:
        """Look at the origins, and watch the sources and files that their manifests name, until cancelled."""
        self._origins = origins
        while True:
            self._is_looking = True
            self.look_now.clear()
            with self._surviving():
                await self.follow([await origin.look() for origin in origins])
                await files.follow(uses := self._secret_files.follow(self.catalog))
                self._reads_files = bool(uses)
                await trees.follow(
                    {n: app.source.path for n, app in self.catalog.apps.items() if not app.source.pinned}
                )
                self._note_unwatched(
                    [*(origin.problem for origin in origins), *trees.problems().values(), *files.problems()]
                )
            self._is_looking = False
            if not self.look_now.is_set():
                self.looked.set()
            await self._until_due()

    async def _until_due(self) -> None:
        """Wait until something was noticed, or may have changed unnoticed; and not for ever without either."""
        for _ in range(_SELDOM):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_next_look()):
                    await self.look_now.wait()
            if self.look_now.is_set() or not await self._misses_nothing():
                return

    async def _misses_nothing(self) -> bool:
        """Return whether all was taken over at the last look, and nothing can have changed unseen since."""
        if not self._is_taken or self._reads_files or self._unheard or self.problem:
            return False
        with contextlib.suppress(OSError, RuntimeError, MemoryError):  # the look itself says what this host cannot do
            return not any([await origin.may_have_changed_unseen() for origin in self._origins])
        return False

    @property
    def _is_taken(self) -> bool:
        """Whether all that the last look found is in effect, and written down."""
        is_settled = self._half_written.due_at is None and self.catalog.is_at_rest and not self._removed
        return is_settled and self._is_stored and self._is_followed

    async def follow(self, looks: Sequence[Look]) -> None:
        """Make what was found true from now on, together with what stays in force."""
        if looks == self._looks and self._is_taken:
            return
        self._is_followed = False
        before, removed = self.catalog, frozenset(self._removed)
        for name in removed:
            before = before.without_lease(name)
        # In a thread: parsing thousands of files takes a while.
        confirmed, self._confirmed = self._confirmed, False
        now, is_first = time.monotonic(), not self._looks
        reviewed = partial(review, before, rules=self._rules, now=now, confirmed=confirmed)
        after = await asyncio.to_thread(reviewed, looks)
        settled = looks if is_first else self._half_written.held_back(before, after, looks, now)
        self.catalog = after if settled is looks else await asyncio.to_thread(reviewed, settled)
        looks = settled
        self._looks, self._removed = looks, self._removed - removed
        self._store()
        self._journal_problems(before, self.catalog)
        self._unreadable_apps = persisted.still_unreadable(self._unreadable_apps, self.catalog)
        self._app_wakeups.ignore(self._unreadable_apps.keys())
        for follower in self.followers:
            follower.follow(self.catalog)
        self._is_followed = True

    def _store(self) -> None:
        """Write down what is desired; what cannot be written takes effect all the same, and is written soon."""
        try:
            persisted.remember(self._records, self._stored, self.catalog, self._settings.manifests, self._written)
        except sqlite3.Error as error:
            if self._is_stored:
                text = f"cannot write down the desired state: {error}"
                self._journal.write(HOST, "daemon", text, "it takes effect, and is written down as soon as possible")
            self._is_stored = False
        else:
            self._stored, self._is_stored = self.catalog, True

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """Journal what this host cannot do just now (no memory, thread or descriptor left), and try again soon."""
        try:
            yield
            self._obstacle = ""
        except Exception as error:  # noqa: BLE001  whatever it is, the manifests are looked at again
            before, self._obstacle = self._obstacle, f"cannot look at the manifests: {str(error) or repr(error)}"
            if self._obstacle == before:
                return
            if isinstance(error, (OSError, RuntimeError, sqlite3.Error, MemoryError)):
                self._journal.write(HOST, "daemon", self._obstacle, f"retried every {_AGAIN_S:g} s")
            else:
                context = {"message": "cannot look at the manifests", "exception": error, "retried_in_s": _AGAIN_S}
                asyncio.get_running_loop().call_exception_handler(context)

    def _note_unwatched(self, problems: Iterable[WatchProblem | None]) -> None:
        """Journal once that changes are found by looking: in one source, or all as the kernel watches no more files."""
        found = [each for each in problems if each is not None]
        self._unheard = bool(found)
        alone = {each.text: _UNTIL[each.failure] for each in found if each.failure in _UNTIL}
        for text in sorted(alone.keys() - self._told_alone):
            every = f"{alone[text]} the daemon looks for its changes every {self._settings.rescan_s:g} s"
            self._journal.write(HOST, "daemon", text, every)
        self._told_alone |= alone.keys()
        problem = next((each.text for each in found if each.failure.is_limit), "")
        if problem and not self._unwatched:
            self._journal.write(
                HOST, "daemon", problem, f"until then the daemon looks for changes every {_AGAIN_S:g} s"
            )
        self._unwatched = problem

    def _journal_problems(self, before: Catalog, after: Catalog) -> None:
        if after.notice and after.notice != before.notice:
            self._journal.write(HOST, "manifest", after.notice)
        for file, entry in after.files.items():
            known = before.files[file].problems if file in before.files else ()
            effect = "its last valid version stays in effect" if entry.all_names else "the file has no effect"
            for subject, text in _refusals(entry, known):
                self._journal.write(subject, "manifest", text, effect, Reason.MANIFEST_REFUSED)
            for subject in entry.subjects if known and not entry.problems else ():
                self._journal.write(subject, "manifest", f"accepted: {file}", "it is valid again, and in effect")

    def _seconds_to_next_look(self) -> float:
        times = (self.catalog.recheck_at, self._half_written.due_at)
        at = min((each for each in times if each is not None), default=None)
        longest_s = self._settings.rescan_s
        if not self._is_stored or self._unwatched or self.problem:
            longest_s = min(longest_s, _AGAIN_S)
        now = time.monotonic()
        longest_s = until_tick(longest_s, now)
        return longest_s if at is None else min(longest_s, max(0.0, at - now))


def _refusals(entry: ManifestFile, known: Sequence[Problem]) -> Iterator[tuple[Subject, str]]:
    """Yield what is new of a refused file, to each app and service in it; the host is told of what is too much."""
    new = [problem for problem in entry.problems if problem not in known]
    yield from islice(((each, f"refused: {problem}") for problem in new for each in entry.subjects), _MOST_TOLD)
    if len(new) * len(entry.subjects) > _MOST_TOLD:
        said = f"{len(new)} problems of {len(entry.subjects)} apps and services"
        yield HOST, f"refused: {entry.file} has {said}: 'reconciler validate' lists them"
