"""Poll the host beside the screen, so that keys respond while a poll takes its time.

A poll reads the state directory and the process table, whether a daemon is running or not. The next one waits ten
times as long as the last one took, so that polling takes at most a tenth of a core, even with a thousand apps.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from reconciler.cli.live.facts import Details, Facts
from reconciler.cli.live.plan_client import NO_DAEMON, plan_of
from reconciler.cli.options import open_snapshot, reading
from reconciler.inspection.log_tail import tail
from reconciler.inspection.status import status
from reconciler.metrics.rates import HostRates
from reconciler.planning.subject import Subject
from reconciler.state.journal import Event, Journal
from reconciler.state.schema import open_database

if TYPE_CHECKING:
    from reconciler.inspection.status import AppRow
    from reconciler.state.paths import StatePaths

_EVERY_S = 1.0
_SHARE = 10
_PLAN_EVERY_S = 10.0
_PLAN_AGAIN_S = 3.0  # of an app whose state has changed
_EVENTS = 40


class Poller:
    """The latest facts of these apps, or of all. `on_update` is called from another thread when there are newer ones.

    `failure` is the exception that ended polling, for the screen's own thread to raise.
    """

    def __init__(self, paths: "StatePaths", only: Sequence[str], on_update: Callable[[], None]) -> None:
        self.facts: Facts | None = None
        self.details: Details | None = None
        self.failure: Exception | None = None
        self._paths = paths
        self._only = only
        self._on_update = on_update
        self._rates = HostRates(paths)
        self._selected: tuple[str, str, int] | None = None
        self._due = threading.Event()
        self._plans: dict[str, Sequence[str]] = {}
        self._plan_of = ""
        self._plan_due = threading.Event()

    def start(self) -> None:
        """Poll until the program ends."""
        for endless in (self._poll, self._poll_plans):
            threading.Thread(target=self._guarded, args=(endless,), daemon=True).start()

    def select(self, selected: tuple[str, str, int] | None) -> None:
        """Also poll the details of this app, with so many lines at the end of this log; None for no details."""
        if selected != self._selected:
            self._selected = selected
            self._due.set()

    def _guarded(self, endless: Callable[[], None]) -> None:
        try:
            endless()
        except Exception as error:  # noqa: BLE001  it is raised again on the screen's own thread
            self.failure = error
            self._on_update()

    def _poll(self) -> None:
        next_at = 0.0
        while True:
            began = time.monotonic()
            if began >= next_at:
                self.facts = self._read_facts()
                next_at = time.monotonic() + max(_EVERY_S, _SHARE * (time.monotonic() - began))
            self.details = self._read_details(self._selected)
            self._on_update()
            self._due.wait(max(0.0, next_at - time.monotonic()))
            self._due.clear()

    def _read_facts(self) -> Facts | None:
        at = time.time()  # noqa: TID251  shown to people, never relied upon
        try:
            with open_snapshot(self._paths) as snapshot:
                found = status(snapshot, self._only)
            with reading(self._paths):
                return Facts(status=found, at=at, rates=self._rates.measure())
        except (click.ClickException, OSError) as error:
            reason = error.message if isinstance(error, click.ClickException) else str(error)
            last = self.facts
            return None if last is None else replace(last, failure=f"not up to date: {reason}")

    def _read_details(self, selected: tuple[str, str, int] | None) -> Details | None:
        if selected is None:
            return None
        name, log, count = selected
        self._plan_of = name
        self._plan_due.set()
        events: Sequence[str] = ()
        with (
            contextlib.suppress(click.ClickException),
            reading(self._paths),
            contextlib.closing(open_database(self._paths.database, read_only=True)) as database,
        ):
            events = [_line(event) for event in Journal(database).newest(Subject("app", name), _EVENTS)]
        lines: Sequence[str] = ()
        with contextlib.suppress(OSError):
            lines = tail(self._paths.log(name, log), count, fold=True) if _is_file_name(name) else ()
        return Details(name=name, log=log, events=events, lines=lines, plan=self._plans.get(name))

    def _poll_plans(self) -> None:
        """Plans come from the daemon, in a thread of their own and less often: one may take seconds."""
        requested: dict[str, tuple[float, object]] = {}
        while True:
            self._plan_due.wait()
            self._plan_due.clear()
            name, now = self._plan_of, time.monotonic()
            at, state_then = requested.get(name, (float("-inf"), None))
            state = self._state_of(name)
            if now - at < (_PLAN_AGAIN_S if state != state_then else _PLAN_EVERY_S):
                continue
            requested[name] = (now, state)
            is_running = self.facts is not None and self.facts.status.daemon is not None
            self._plans[name] = plan_of(self._paths.api, name) if is_running else [NO_DAEMON]
            self._due.set()

    def _state_of(self, name: str) -> object:
        """Return what calls for another plan when it changes."""
        if self.facts is None:
            return None
        row: AppRow | None = next((app for app in self.facts.status.apps if app.name == name), None)
        return self.facts.status.daemon, None if row is None else (row.state, row.revision, row.wanted_revision)


def _line(event: Event) -> str:
    """Return an event in one line, without the app's name, which stands above it."""
    at = time.strftime("%m-%d %H:%M:%S", time.localtime(event.at))
    return f"{at}  {event.kind:<9} {event.text}{f' ({event.cause})' if event.cause else ''}"


def _is_file_name(name: str) -> bool:
    """Return whether the name may be a folder's: an app that is refused is named after its manifest's file."""
    return "/" not in name and name not in {"", ".", ".."}
