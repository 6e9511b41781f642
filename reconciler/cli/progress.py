"""What happens to the apps in; lines for whoever waits out: each landmark once, long work every few seconds.

On a terminal the work under way is one line at the bottom, drawn over itself; in a pipe it is a line now and then.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from reconciler.cli.table import cut, is_terminal, state_styled, width
from reconciler.inspection.printable import plain

if TYPE_CHECKING:
    from reconciler.convergence.world import Report

_ELAPSED = re.compile(r" \(\d+ s\)$")
_FIRST_AFTER_S, _NEXT_AFTER_S, _SAME_AFTER_S, _ANY_AFTER_S = 2.0, 2.0, 10.0, 0.5
_TRANSIENT = frozenset(("pending", "staging", "starting", "stopping"))


@dataclass(slots=True, kw_only=True)
class _Shown:
    """What was last said of an app's work, and when, in monotonic seconds."""

    at: float
    phase: str = ""


class Phases:
    """Decides what of the work under way is worth a line: nothing that is over soon, and never a flood."""

    def __init__(self) -> None:
        self._apps: dict[str, _Shown] = {}
        self._last_at = float("-inf")

    def worth_saying(self, name: str, report: "Report", now: float) -> bool:
        """Whether to say now what the app is at; once said, it is not said again for a while."""
        shown = self._apps.setdefault(name, _Shown(at=now - _NEXT_AFTER_S + _FIRST_AFTER_S))
        phase = _ELAPSED.sub("", phase_of(report))
        due = shown.at + (_SAME_AFTER_S if phase == shown.phase else _NEXT_AFTER_S)
        if not phase or now < due or now < self._last_at + _ANY_AFTER_S:
            return False
        self._apps[name] = _Shown(at=now, phase=phase)
        self._last_at = now
        return True

    def over(self, name: str) -> None:
        """The app is at nothing any more."""
        self._apps.pop(name, None)


class Console:
    """Prints lines, and below them, on a terminal, one that says what is under way. `now` is monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._terminal = is_terminal()
        self._phases = Phases()
        self._bottom = ""
        self._wide = 0

    def say(self, line: str) -> None:
        """Print a line."""
        self._clear()
        click.echo(line)
        self._draw()
        sys.stdout.flush()

    def app(self, name: str, state: str, text: str = "") -> None:
        """Print a landmark of an app."""
        self._phases.over(name)
        self.say(self._line(name, state, text))

    def working(self, name: str, report: "Report", bottom: str = "") -> None:
        """Note what an app is at: on the bottom line, or on a line of its own now and then."""
        if self._terminal and bottom:
            self.bottom(bottom)
        elif self._phases.worth_saying(name, report, self._now()):
            self.say(self._line(name, report.state, phase_of(report)))

    def idle(self, name: str) -> None:
        """Note that the app is at nothing for now."""
        self._phases.over(name)

    def bottom(self, text: str) -> None:
        """Replace the line at the bottom; an empty one takes it away."""
        if not self._terminal or plain(text) == self._bottom:
            return
        self._clear()
        self._bottom = plain(text)
        self._draw()
        sys.stdout.flush()

    def widen(self, names: "frozenset[str] | set[str]") -> None:
        """Make the column of names wide enough for these."""
        self._wide = max((len(name) for name in names), default=self._wide)

    def _line(self, name: str, state: str, text: str) -> str:
        self._wide = max(self._wide, len(name))
        text = "" if text == state else text
        padded = state.ljust(8) if text else state
        return f"{plain(name).ljust(self._wide)}  {state_styled(padded, state)}  {plain(text)}".rstrip()

    def _clear(self) -> None:
        if self._bottom:
            click.echo("\r\x1b[K", nl=False)

    def _draw(self) -> None:
        if self._bottom:
            columns = width()
            click.echo(cut(self._bottom, None if columns is None else columns - 1), nl=False)


def phase_of(report: "Report") -> str:
    """What an app is at, in words for somebody who waits; while it starts, the plan's reasons say nothing to him."""
    return report.state if report.state in {"starting", "stopping"} else report.message


def is_under_way(report: "Report") -> bool:
    """True for a state that something else will follow by itself."""
    return report.state in _TRANSIENT
