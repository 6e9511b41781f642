"""Looks at the host beside the screen, so that keys are obeyed while a look takes its time.

A look reads the state directory and the process table, whether a daemon runs or not. The next one waits ten times as
long as the last one took, so that watching never takes more than a tenth of a core, be there a thousand apps.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from reconciler.cli.live.facts import Details, Facts
from reconciler.cli.live.plan_client import NO_DAEMON, pending
from reconciler.cli.options import open_snapshot, reading
from reconciler.metrics.rates import Rates
from reconciler.planning.subject import Subject
from reconciler.serving.logs import tail
from reconciler.state.journal import Event, Journal
from reconciler.state.schema import open_database

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_EVERY_S = 1.0
_SHARE = 10
_PLAN_EVERY_S = 10.0
_PLAN_AGAIN_S = 3.0  # of an app whose state changes
_EVENTS = 40
_LINES = 200


class Looking:
    """What was seen last, of one app or of all. `seen` is called from another thread when there is more to see.

    `failure` is what ended the looking, to be raised where it is seen.
    """

    def __init__(self, paths: "StatePaths", only: str | None, seen: Callable[[], None]) -> None:
        self.facts: Facts | None = None
        self.details: Details | None = None
        self.failure: Exception | None = None
        self._paths = paths
        self._only = only
        self._seen = seen
        self._rates = Rates(paths)
        self._subject: tuple[str, str] | None = None
        self._asked = threading.Event()
        self._planned: dict[str, Sequence[str]] = {}
        self._plan_of = ""
        self._plan_wanted = threading.Event()

    def begin(self) -> None:
        """Look until the program ends."""
        for endless in (self._look_on, self._plan_on):
            threading.Thread(target=self._telling, args=(endless,), daemon=True).start()

    def ask(self, subject: tuple[str, str] | None) -> None:
        """Look up the details of this app and its log too; None: of none."""
        if subject != self._subject:
            self._subject = subject
            self._asked.set()

    def _telling(self, endless: Callable[[], None]) -> None:
        try:
            endless()
        except Exception as error:  # noqa: BLE001  it is raised again on the screen's own thread
            self.failure = error
            self._seen()

    def _look_on(self) -> None:
        due = 0.0
        while True:
            began = time.monotonic()
            if began >= due:
                self.facts = self._look()
                due = time.monotonic() + max(_EVERY_S, _SHARE * (time.monotonic() - began))
            self.details = self._detailed(self._subject)
            self._seen()
            self._asked.wait(max(0.0, due - time.monotonic()))
            self._asked.clear()

    def _look(self) -> Facts | None:
        at = time.time()  # noqa: TID251  shown to people, never relied upon
        try:
            with open_snapshot(self._paths) as snapshot:
                status = snapshot.status(self._only)
            with reading(self._paths):
                return Facts(status=status, at=at, rates=self._rates.look())
        except (click.ClickException, OSError) as error:
            trouble = error.message if isinstance(error, click.ClickException) else str(error)
            known = self.facts
            return None if known is None else replace(known, trouble=f"what is shown is of before: {trouble}")

    def _detailed(self, subject: tuple[str, str] | None) -> Details | None:
        if subject is None:
            return None
        name, log = subject
        self._plan_of = name
        self._plan_wanted.set()
        events: Sequence[str] = ()
        with (
            contextlib.suppress(click.ClickException),
            reading(self._paths),
            contextlib.closing(open_database(self._paths.database, read_only=True)) as database,
        ):
            events = [_line(event) for event in Journal(database).newest(Subject("app", name), _EVENTS)]
        lines = tail(self._paths.log(name, log), _LINES) if _is_name(name) else []
        return Details(name=name, log=log, events=events, lines=lines, plan=self._planned.get(name))

    def _plan_on(self) -> None:
        """Plans are asked for beside all that, and seldom: one may take seconds."""
        asked_at: dict[str, tuple[float, object]] = {}
        while True:
            self._plan_wanted.wait()
            self._plan_wanted.clear()
            name, now = self._plan_of, time.monotonic()
            at, known = asked_at.get(name, (float("-inf"), None))
            stands = self._stands(name)
            if now - at < (_PLAN_AGAIN_S if stands != known else _PLAN_EVERY_S):
                continue
            asked_at[name] = (now, stands)
            runs = self.facts is not None and self.facts.status["daemon"]["running"]
            self._planned[name] = pending(self._paths.api, name) if runs else [NO_DAEMON]
            self._asked.set()

    def _stands(self, name: str) -> object:
        """What of an app makes for another plan when it changes."""
        if self.facts is None:
            return None
        runs = self.facts.status["daemon"]["running"]
        row: Mapping[str, object] = next((app for app in self.facts.status["apps"] if app["name"] == name), {})
        return runs, row.get("state"), row.get("revision"), row.get("wanted_revision")


def _line(event: Event) -> str:
    """An event of an app that is named above it."""
    at = time.strftime("%m-%d %H:%M:%S", time.localtime(event.at))
    return f"{at}  {event.kind:<9} {event.text}{f' ({event.cause})' if event.cause else ''}"


def _is_name(name: str) -> bool:
    """True for what may be a folder's name; a refused file's stem may be anything."""
    return "/" not in name and name not in {"", ".", ".."}
