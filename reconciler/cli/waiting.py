"""Wait until the daemon says that apps and services are as their manifests ask, and show how far they are.

The daemon looks at the manifests and sources again first, so that what was saved before the wait counts. Another daemon
that takes its place while this waits is asked to do the same.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from reconciler.cli.daemon_client import NoDaemon, NotAllowed
from reconciler.cli.failure import Failure, Told
from reconciler.cli.progress import Console
from reconciler.inspection.printable import ago, json_text, plain
from reconciler.linux.dataclass import dataclass
from reconciler.planning.wording import counted

if TYPE_CHECKING:
    from reconciler.planning.subject import Subject
    from reconciler.state.paths import StatePaths

Row: TypeAlias = Mapping[str, Any]
Ending: TypeAlias = Literal["up to date", "failed", "timeout", "no daemon"]

_LEAST_PAUSE_S = 0.1
_MOST_PAUSE_S = 1.0
_PAUSES_PER_ANSWER = 5.0
_FAILED = frozenset(("failed", "held", "refused"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What to wait for. `names` choose apps and services, all if empty; with `probation`, a revision must pass it."""

    names: Sequence[str] = ()
    timeout_s: float
    keep_trying: bool = False
    probation: bool = True

    def is_met(self, row: Row) -> bool:
        """Return whether an app or a service is as it has to be."""
        return row["outcome"] == "up-to-date" or (row["outcome"] == "on-probation" and not self.probation)

    def is_over(self, row: Row) -> bool:
        """Return whether it failed, and is not waited for any longer."""
        return row["outcome"] in _FAILED and not self.keep_trying


@dataclass(slots=True, kw_only=True)
class Waiting:
    """One wait on the daemon of a state directory; `console` is None where nothing is shown."""

    paths: "StatePaths"
    terms: Terms
    console: Console | None
    rows: Sequence[Row] = ()
    _told: dict[str, tuple[str, str]] = field(default_factory=dict)
    _run: str | None = None
    _was_there: bool = False
    _is_lost: bool = False

    def end(self) -> Ending:
        """Wait, and return how it ended; `rows` are then what was chosen, as it was last.

        Raises NoDaemon if none runs at the start, and ClickException if a name is unknown.
        """
        deadline = time.monotonic() + self.terms.timeout_s
        while True:
            began = time.monotonic()
            answer = self._asked("outcomes")
            if answer is not None and self._is_looked_at(answer) and answer["current"]:
                self.rows = self._chosen(answer["rows"])
                self._show()
                if any(self.terms.is_over(row) for row in self.rows):
                    return "failed"
                if all(self.terms.is_met(row) for row in self.rows):
                    return "up to date"
            elif answer is not None and not self.rows:
                self._bottom("the daemon is looking at the manifests")
            now = time.monotonic()
            if now >= deadline:
                return "no daemon" if answer is None else "timeout"
            pause_s = min(_MOST_PAUSE_S, max(_LEAST_PAUSE_S, _PAUSES_PER_ANSWER * (now - began)))
            time.sleep(min(pause_s, deadline - now))

    def _is_looked_at(self, answer: Mapping[str, Any]) -> bool:
        """Return whether the daemon that answered was asked to look; ask it otherwise."""
        if answer["run"] == self._run:
            return True
        looking = self._asked("look")
        self._run = None if looking is None else str(looking["run"])
        return False

    def _asked(self, what: str) -> dict[str, Any] | None:
        """Return the daemon's answer, None if there is none; whether it may come back is told once."""
        from reconciler.control.requests import Refused
        from reconciler.control.socket import NoAnswer, ask
        from reconciler.state.lock import holder

        try:
            answer = ask(self.paths.control, {"do": what})
        except PermissionError as error:
            raise NotAllowed(self.paths.state) from error
        except Refused as error:
            text = f"the daemon of {self.paths.state} is of an earlier version, which cannot be waited for: restart it"
            raise Failure("refused", text) from error
        except NoAnswer:
            self._tell("the daemon does not answer; waiting for it")
        except OSError as error:
            if holder(self.paths) is not None:
                self._tell("the daemon is starting; waiting for it")
            elif not self._was_there:
                raise NoDaemon(self.paths.state) from error
            else:
                self._tell("the daemon has ended; waiting for it to come back")
        else:
            self._was_there, self._is_lost = True, False
            return answer
        self._was_there = self._is_lost = True
        return None

    def _chosen(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of what was named, and of the services that it uses; all without names."""
        if not self.terms.names:
            return list(rows)
        from reconciler.planning.name_patterns import NoMatch, chosen

        try:
            named = set(chosen(self.terms.names, [subject_of(row) for row in rows]))
        except NoMatch as error:
            refused = [row["message"] for row in rows if row["outcome"] == "refused"]
            raise Failure("not-found", "\n".join([str(error), *(f"refused: {text}" for text in refused)])) from error
        used = {name for row in rows if subject_of(row) in named for name in row.get("services", ())}
        return [
            row
            for row in rows
            if subject_of(row) in named
            or (row["kind"] == "service" and row["name"] in used)
            or (row["kind"] == "host" and row["outcome"] == "failed")
        ]

    # What is shown

    def _tell(self, text: str) -> None:
        if self.console is not None and not self._is_lost:
            self.console.bottom("")
            click.echo(text, err=True)

    def _bottom(self, text: str) -> None:
        if self.console is not None:
            self.console.bottom(text)

    def _show(self) -> None:
        """Print what has changed of what is waited for, and below it how far that is."""
        if self.console is None:
            return
        for row in self.rows:
            name, now = str(subject_of(row)), (row["outcome"], row["message"])
            before = self._told.get(name)
            self._told[name] = now
            if before is None or before == now or row["outcome"] == "under-way":
                continue
            if before[0] != row["outcome"] or row["outcome"] in _FAILED:
                self.console.milestone(name, row["state"], _text(row))
        open_ = [row for row in self.rows if not self.terms.is_met(row)]
        if open_:
            done = len(self.rows) - len(open_)
            self.console.progress(f"{done} of {len(self.rows)} up to date · {subject_of(open_[0])}: {_text(open_[0])}")


def wait(waiting: Waiting, *, as_json: bool = False) -> None:
    """Wait and print what it came to. Raises NoDaemon or Told unless all that was chosen is up to date."""
    with contextlib.ExitStack() as last:
        if waiting.console is not None:
            last.callback(waiting.console.bottom, "")
        ending = waiting.end()
    if as_json:
        for row in waiting.rows:
            click.echo(json_text(facts(row, waiting.terms)))
    elif ending == "up to date":
        click.echo(_summary(waiting))
    if ending == "no daemon":
        raise NoDaemon(waiting.paths.state, f" after {ago(waiting.terms.timeout_s)} of waiting")
    if ending != "up to date":
        reasons = "\n".join(_reasons(waiting, ending))
        if not as_json:
            click.echo(reasons, err=True)
        raise Told("not-up-to-date", reasons)


def facts(row: Row, terms: Terms) -> dict[str, Any]:
    """Return what `wait --json` prints of an app or a service."""
    return {
        "kind": row["kind"],
        "name": row["name"],
        "up_to_date": terms.is_met(row),
        "outcome": row["outcome"],
        "state": row["state"],
        "reason": row.get("reason", ""),
        "message": row["message"],
        "revision": row.get("revision"),
        "retry_in_s": row.get("retry_in_s"),
        "errors": row.get("errors", []),
    }


def _summary(waiting: Waiting) -> str:
    apps = [row for row in waiting.rows if row["kind"] == "app"]
    services = len(waiting.rows) - len(apps)
    what = [counted(len(apps), "app")] if apps or not services else []
    what += [counted(services, "service")] if services else []
    return f"{' and '.join(what)}, all up to date" if waiting.rows else "there are no apps to wait for"


def _reasons(waiting: Waiting, ending: Ending) -> Iterator[str]:
    behind = [row for row in waiting.rows if not waiting.terms.is_met(row)]
    if ending == "timeout":
        yield f"not up to date after {ago(waiting.terms.timeout_s)}:"
        if not waiting.rows:
            yield "  the daemon has not finished looking at the manifests"
    elif ending == "failed":
        behind = [row for row in behind if waiting.terms.is_over(row)]
        yield "not up to date:"
    else:
        return
    for row in behind:
        retry = f"; retry in {ago(row['retry_in_s'])}" if row.get("retry_in_s") else ""
        yield f"  {plain(subject_of(row))}: {row['state']}: {plain(_text(row))}{retry}"
        for error in row.get("errors", [])[1:]:
            place = f"{error['file']}:{error['line']}:{error['column']}"
            yield f"    {plain(': '.join(filter(None, (place, error['path'], error['message']))))}"


def _text(row: Row) -> str:
    """Return what there is to say of a row."""
    if row["outcome"] == "on-probation":
        return f"serves; its probation ends in {ago(row.get('probation_left_s', 0.0))}"
    if row["outcome"] == "held":
        return f"{row['message']}; 'reconciler start {row['name']}' resumes it"
    return str(row["message"] or row["state"])


def subject_of(row: Row) -> "Subject":
    """Return what a row is about."""
    from reconciler.planning.subject import Subject

    return Subject(row["kind"], row["name"])
