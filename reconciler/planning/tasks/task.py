"""One task of an app as it is on record: a command that ends, what asked for it, and what became of it.

A task is on record before its process exists. Times are wall-clock seconds where nothing else is said.
"""

import json
import re
import shlex
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

# `schedule` is an occurrence, `release` a release command; a `shell` was opened by an operator in a terminal.
TaskKind: TypeAlias = Literal["task", "schedule", "release", "shell"]
TaskState: TypeAlias = Literal["owed", "running", "succeeded", "failed", "cancelled", "skipped", "missed"]

_PLAIN = re.compile(r"[^\s\"'\\]+")
OPEN: frozenset[str] = frozenset(("owed", "running"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task. `command` is a JSON list of words, or an object with those in which variables are replaced as
    `expand`; `cause` says in words what asked for it, `asked_by` which user did.

    An occurrence has its `schedule`, the `fingerprint` of that, the time it was planned for, and which `attempt` it is;
    one that was triggered out of turn has who `asked_by` for it, too. `wanted` is how the revision begins that an
    operator chose, "" for the one that serves; `revision` and `build` are those it was started with. A `running` one
    without a `pid` is about to be started. `told_at` is when it was told to end, by whom `cancelled_by` says.
    `attached` names the socket of a terminal. `ending` is how it ended in words, `code` its exit code, `signal` the
    number of the signal that ended it; `peak_memory` is in bytes, `said` its last lines without secrets, `log_size` the
    bytes that it printed. One that is `made_up` makes up for an occurrence that was missed. `started_monotonic` are
    monotonic seconds of `boot`.
    """

    id: str
    app: str
    kind: TaskKind
    name: str
    command: str
    state: TaskState
    owed_at: float
    timeout_s: float
    cause: str = ""
    asked_by: str = ""
    schedule: str = ""
    fingerprint: str = ""
    planned_at: float | None = None
    attempt: int = 1
    wanted: str = ""
    revision: str = ""
    build: str = ""
    boot: str = ""
    pid: int | None = None
    ticks: int | None = None
    attached: str = ""
    started_at: float | None = None
    told_at: float | None = None
    cancelled_by: str = ""
    ended_at: float | None = None
    took_s: float | None = None
    code: int | None = None
    signal: int | None = None
    ending: str = ""
    peak_memory: int | None = None
    log_size: int | None = None
    said: str = ""
    made_up: bool = False
    started_monotonic: float | None = None

    @property
    def is_by_hand(self) -> bool:
        """Whether an operator asked for it, who waits for it."""
        return self.kind != "schedule" or self.asked_by != ""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its command."""
        written = json.loads(self.command)
        return tuple(written["expand"] if isinstance(written, dict) else written)

    @property
    def line(self) -> str:
        """Its command as an operator would write it."""
        if self.words[:2] == ("/bin/sh", "-c") and len(self.words) == 3:
            return self.words[2]
        if not self.expands:
            return shlex.join(self.words)
        return " ".join(word if _PLAIN.fullmatch(word) else f'"{word}"' for word in self.words)

    @property
    def expands(self) -> bool:
        """Whether variables in its words are replaced when it is started."""
        return self.command.startswith("{")

    @property
    def exit_status(self) -> int | None:
        """What a shell would say of its end: its code, or 128 and the signal; None as long as that is not known."""
        return self.code if self.signal is None else 128 + self.signal
