"""Print the progress of apps: each milestone once, and long work every few seconds.

On a terminal the work under way is one line at the bottom that is redrawn; in a pipe it is a line now and then.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import click

from reconciler.cli.table import cut, is_terminal, state_styled, width
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.planning.states import TRANSIENT_STATES

if TYPE_CHECKING:
    from reconciler.convergence.world import Report

_FIRST_AFTER_S, _NEXT_AFTER_S, _SAME_AFTER_S, _ANY_AFTER_S = 2.0, 2.0, 10.0, 0.5

Phase: TypeAlias = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class _Printed:
    """The phase of an app's work that was printed last, and when, in monotonic seconds."""

    at: float
    phase: Phase | None = None


class Phases:
    """Decide which phases of the work under way deserve a line: none that ends soon, and never a flood."""

    def __init__(self) -> None:
        self._apps: dict[str, _Printed] = {}
        self._last_at = float("-inf")

    def is_due(self, name: str, report: "Report", now: float) -> bool:
        """Return whether to print the app's phase now; if so, the same phase is not due again for a while."""
        printed = self._apps.setdefault(name, _Printed(at=now - _NEXT_AFTER_S + _FIRST_AFTER_S))
        phase = (report.state, report.reason, report.phase)
        due = printed.at + (_SAME_AFTER_S if phase == printed.phase else _NEXT_AFTER_S)
        if now < due or now < self._last_at + _ANY_AFTER_S:
            return False
        self._apps[name] = _Printed(at=now, phase=phase)
        self._last_at = now
        return True

    def end(self, name: str) -> None:
        """Forget an app whose work has ended."""
        self._apps.pop(name, None)


class Console:
    """Prints lines, and below them, on a terminal, one with the work under way. `now` returns monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._terminal = is_terminal()
        self._phases = Phases()
        self._bottom = ""
        self._progress = ""
        self._progress_due_at: float | None = None
        self._name_width = 0

    def milestone(self, name: str, state: str, text: str = "") -> None:
        """Print what an app has reached."""
        self._phases.end(name)
        self._print(self._line(name, state, text))

    def working(self, name: str, report: "Report", bottom: str = "") -> None:
        """Show the work under way: in the bottom line, or in a line of its own now and then."""
        if self._terminal and bottom:
            self.bottom(bottom)
        elif self._phases.is_due(name, report, self._now()):
            self._print(self._line(name, report.state, phase_of(report)))

    def idle(self, name: str) -> None:
        """Note that no work is under way for an app."""
        self._phases.end(name)

    def bottom(self, text: str) -> None:
        """Replace the bottom line; an empty one removes it."""
        if not self._terminal or plain(text) == self._bottom:
            return
        self._clear()
        self._bottom = plain(text)
        self._draw()
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """Show how far it is: in the bottom line, or in a line of its own now and then if that has changed."""
        if self._terminal:
            self.bottom(text)
            return
        now = self._now()
        if self._progress_due_at is None:
            self._progress_due_at = now + _FIRST_AFTER_S
        if text != self._progress and now >= self._progress_due_at:
            self._progress, self._progress_due_at = text, now + _SAME_AFTER_S
            self._print(plain(text))

    def align(self, names: "frozenset[str] | set[str]") -> None:
        """Make the column of names wide enough for these."""
        self._name_width = max((len(name) for name in names), default=self._name_width)

    def _print(self, line: str) -> None:
        self._clear()
        click.echo(line)
        self._draw()
        sys.stdout.flush()

    def _line(self, name: str, state: str, text: str) -> str:
        self._name_width = max(self._name_width, len(name))
        text = "" if text == state else text
        padded = state.ljust(8) if text else state
        return f"{plain(name).ljust(self._name_width)}  {state_styled(padded, state)}  {plain(text)}".rstrip()

    def _clear(self) -> None:
        if self._bottom:
            click.echo("\r\x1b[K", nl=False)

    def _draw(self) -> None:
        if self._bottom:
            columns = width()
            click.echo(cut(self._bottom, None if columns is None else columns - 1), nl=False)


class Silent(Console):
    """Prints nothing, where the outcome is for programs."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self._terminal = False

    def _print(self, line: str) -> None:
        """Print nothing."""


def phase_of(report: "Report") -> str:
    """Return the work under way in words; while an app starts or stops, its state says more than the plan's message.

    Long work has words of its own, as a release command has. Of a retry it is what is tried, without the failure,
    which was printed.
    """
    if is_retry(report):
        return report.phase
    return report.state if report.state in {"starting", "stopping"} and not report.phase else report.message


def is_under_way(report: "Report") -> bool:
    """Return whether the state is followed by another one without a further cause; a deploy is, while the app runs."""
    return report.state in TRANSIENT_STATES or (report.state == "running" and not report.settled)


def is_retry(report: "Report") -> bool:
    """Return whether an action that failed is being tried again."""
    return bool(report.failures and report.phase)
