"""One instance on record: its process while it has one, and what its workers say of themselves.

Workers speak by files in the instance's readiness directory, so that the next daemon finds what this one heard.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from reconciler.isolation.cells import Cell
from reconciler.linux.dataclass import dataclass
from reconciler.linux.lean_event import LeanEvent
from reconciler.linux.listing import names_in
from reconciler.linux.process_table import children
from reconciler.linux.processes import Process
from reconciler.linux.regular_files import read_own
from reconciler.planning.apps.observed import Instance
from reconciler.planning.isolation.confinement import Proof, proof_of
from reconciler.planning.isolation.limits import NO_LIMITS, Held, Limit, Limits
from reconciler.planning.wording import counted
from reconciler.serving import gate_figures_reader, logs
from reconciler.state.records import NO_ADDRESS, InstanceRecord

_FIRST_WORDS = 1000
_MORE_WORKERS = 16  # than it has: those that were replaced, or that finish their last request
_MOST_FILES = 5000  # an app may put any number of them beside what its workers say
_MOST_BYTES = 16 * 1024
_LONGEST_NUMBER = 20


class CannotStart(Exception):
    """An instance did not become ready; the text is the last thing it said.

    `of_python` says that it failed on what other versions of Python have.
    """

    def __init__(self, message: str, *, of_python: bool = False) -> None:
        super().__init__(message)
        self.of_python = of_python


class CannotScale(CannotStart):
    """An instance does not have the wanted number of ready workers; those it has keep serving."""


@dataclass(slots=True, kw_only=True)
class LiveInstance:
    """An instance on record, its process while it has one, and an event that is set whenever it may have changed.

    `link` leads to the code that it runs, `program` is what messages call it, `cell` holds all of its processes. One of
    a process that is not web `says_ready` itself, and is `silent` when its watchdog hears nothing. `limits` are
    in force, None if that is not known, and `held` by the kernel as it says; what it does not hold is `unenforced`.
    `outgrown` says how near to one it is, `beyond` which were exceeded lately; `kills` are those of the kernel, as
    it used all its memory, that its master has outlived. Its record does not follow the number of workers while that is
    `scaling`; one that something else changed is `unsettled` until it is looked at again.
    """

    record: InstanceRecord
    readiness: Path
    log: Path
    link: Path
    process: Process | None = None
    end: str | None = None
    detached: bool = False
    unhealthy: str | None = None
    silent: bool = False
    log_start: int = 0
    counts_requests: bool = False
    waits: str | None = None
    note: str | None = None
    importing: str | None = None
    workers_passed: int = 0
    worker_names: tuple[str, ...] = ()
    imports: bool = False
    workers_died: int = 0
    worker_end: str = ""
    said: str = ""
    failed_start: str | None = None
    never_idle: bool = False
    says_ready: bool = False
    program: str = "gunicorn"
    cell: Cell = field(default_factory=Cell)
    limits: Limits | None = NO_LIMITS
    held: Mapping[Limit, Held] = field(default_factory=dict)
    unenforced: str = ""
    outgrown: str = ""
    scaling: bool = False
    unsettled: bool = False
    kills: int = 0
    beyond: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=LeanEvent)

    @property
    def runs(self) -> bool:
        """Whether its process is alive and not told to stop."""
        return self.process is not None and self.end is None and self.record.stopping_since is None

    def observed(self) -> Instance:
        """Return what planning sees of it."""
        record = self.record
        return Instance(
            id=record.id,
            revision=record.revision,
            build=record.build,
            address=None if record.address == NO_ADDRESS else record.address,
            beside=record.beside_address,
            pid=record.pid or 0,
            started_at=record.started_at,
            workers=record.workers,
            ready_at=record.ready_at,
            stopping_since=record.stopping_since,
            detached=self.detached,
            unhealthy=self.unhealthy,
            busy_at=self.busy_at() if self.counts_requests else None,
            note=self.note,
            workers_died=self.workers_died,
            worker_end=self.worker_end,
            end=self.end,
            said=self.said,
            failed_start=self.failed_start,
            never_idle=self.never_idle,
            stop_timeout_s=record.stop_timeout_s,
            program=self.program,
            limits=self.limits,
            unenforced=self.unenforced,
            lacks=self.lacks,
            outgrown=self.outgrown,
            exceeded="; ".join(self.beyond.values()),
        )

    @property
    def proof(self) -> Proof | None:
        """What it has proved of its isolation, None without isolation, and before it has proved anything."""
        return proof_of(self.record.isolation) if "\n" in self.record.isolation else None

    @property
    def lacks(self) -> str:
        """Say which parts of its isolation are missing, "" if none is."""
        if self.record.isolation and self.proof is None:
            # Its proof was there: without one, nothing of the app runs.
            return "isolation was proved, and what it lacks is not on record"
        return "" if self.proof is None else self.proof.told

    @property
    def is_isolated_as_us(self) -> bool:
        """Whether it is isolated and has our user: its files may go to no other before it has ended."""
        return self.proof is not None and "user" in self.proof.missing

    def workers_ready(self) -> int:
        """Return how many workers have passed their gate and are there."""
        return self.record.workers_passed(self.names())

    def workers_set(self) -> int | None:
        """Return how many workers the master was last told to keep, None where it does not say.

        One that was started before it wrote this at once may be about to write it.
        """
        with contextlib.suppress(OSError, ValueError):
            workers = int(read_own(self.readiness / "workers", _LONGEST_NUMBER))
            return workers if 0 < workers <= _MOST_FILES else None
        return None

    def workers_alive(self) -> int:
        """Return how many children the master has, those included that finish their last request."""
        return 0 if self.process is None else len(children(self.process.pid))

    def worker_files(self) -> tuple[str, ...]:
        """Return the files of its workers, as they were when a worker last had something to say."""
        return tuple(f"{self.readiness}/{name}" for name in self.worker_names or self._some_of_workers(self.names()))

    def update_from_workers(self, names: Sequence[str] | None = None) -> None:
        """Note how many passed, what workers say that wait before their gate while others serve, and how many exited.

        Also, whether one is being imported. `names` are those of `names()`, unless they are to be read now.
        """
        names = self.names() if names is None else names
        self.workers_passed = self.record.workers_passed(names)
        self.worker_names = self._some_of_workers(names)
        self.imports = any(name.startswith("importing-") for name in names)
        waiting = [name for name in names if name.startswith("waiting-")]
        fallen = [name for name in names if name.startswith("fallen-")]
        if len(fallen) > self.workers_died:
            self.worker_end = self._words(fallen[-1])
            self.said = self.last_words()
        self.workers_died = len(fallen)
        self.never_idle = "uncounted" in names
        self.waits = self._words(waiting[0]) if waiting else None
        self.note = f"{self._who_waits(len(waiting))}: {self.waits}" if waiting else self.importing

    def _who_waits(self, workers: int) -> str:
        return f"{counted(workers, 'worker')} waiting" if self.program == "gunicorn" else f"{self.program} is not ready"

    def is_lost(self) -> bool:
        """Whether it can never be ready: it ended, a worker was rejected by its gate, or exited before that."""
        if self.end is not None:
            return True
        if self.record.ready_at is not None:
            return False
        return any(os.path.lexists(f"{self.readiness}/{name}") for name in ("refused", "exited"))

    def own_program(self) -> str:
        """Return the name of the app's own program, which it runs behind a forwarder; "" for gunicorn."""
        return self._words("program")

    def worker_exit(self) -> str | None:
        """Return how a worker ended before it was ready, None if none did."""
        return self._words("exited") or None

    def remark(self) -> str:
        """Return what its worker class cannot do, as the end of a sentence, "" if it can do everything."""
        cuts, unasked = self._words("cuts"), self._words("unasked")
        remarks = [f"worker class {cuts} cuts the connections it keeps at a hand-over"] if cuts else []
        if unasked:
            remarks.append(f"worker class {unasked} is asked for the health path only once it serves")
        return "".join(f"; {remark}" for remark in remarks)

    def refusal(self) -> str | None:
        """Return why a worker did not pass its gate, None if none said so."""
        return self._words("refused") or None

    @property
    def code(self) -> str:
        """The directory of its code, as its tracebacks name it."""
        with contextlib.suppress(OSError):
            return str(self.link.readlink())
        return str(self.link)

    def last_words(self) -> str:
        """Return what the app itself wrote last into its log since this instance started, in one line."""
        return logs.last_words(self.log, self.log_start, self.code)

    def busy_at(self) -> float | None:
        """Return when a worker was last at work on a request, monotonic seconds."""
        return gate_figures_reader.last_busy(self._of_workers())

    def work(self) -> tuple[tuple[int, float], ...]:
        """Return, for each worker that counts, its requests in flight and when it last answered one."""
        return gate_figures_reader.work(self._of_workers())

    def is_counting(self) -> bool:
        """Whether its workers write down when they are at work."""
        return gate_figures_reader.counting(self.worker_files())

    def note_importing(self, text: str | None) -> bool:
        """Note where its import is while it starts, None once it is over; return whether that is new."""
        before, self.importing = self.importing, text
        if text != before:
            self.update_from_workers()
        return text != before

    def mark_ready(self) -> None:
        """Record that it serves, and have later workers wait out a check that fails instead of ending their master."""
        self.record = replace(self.record, ready_at=time.monotonic())
        self._flag("serving")

    def close_gate(self) -> bool:
        """Let no further worker through its gate, and return whether none has passed: then it has no requests."""
        self._flag("unwanted")
        return self.workers_ready() == 0

    async def change(self, at_most_s: float) -> bool:
        """Wait until it may have changed, or for so long; return whether it may have."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self.changed.wait()
        return self.changed.is_set()

    async def ended(self) -> None:
        """Wait until its process has ended."""
        while self.end is None:
            self.changed.clear()
            await self.changed.wait()

    def tell_memory(self, most: int | None) -> None:
        """Tell its workers, by the name of an empty file, how many bytes of memory it may have, None for no limit."""
        told = "" if most is None else f"memory-{most}"
        for name in self.names():
            if name.startswith("memory-") and name != told:
                with contextlib.suppress(OSError):
                    (self.readiness / name).unlink()
        if told:
            self._flag(told)

    def fallen(self) -> frozenset[int]:
        """Return the pids of workers that ended on their own."""
        names = (name.removeprefix("fallen-") for name in self.names() if name.startswith("fallen-"))
        return frozenset(int(each) for each in names if each.isdecimal() and len(each) < _LONGEST_NUMBER)

    def _flag(self, name: str) -> None:
        """Create an empty file that its workers look for; nothing that is there is followed or changed."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.readiness / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def names(self) -> list[str]:
        """Return the names of the files in which its workers speak, and of what the app has put beside them."""
        with contextlib.suppress(OSError):
            return names_in(self.readiness, _MOST_FILES)
        return []

    def _of_workers(self) -> list[Path]:
        """Return the files of the workers, no more of them than there can be: the app may have put others there."""
        return [self.readiness / name for name in self._some_of_workers(self.names())]

    def _some_of_workers(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(filter(str.isdecimal, names))[: 2 * self.record.workers + _MORE_WORKERS])

    def _words(self, name: str) -> str:
        return _words_in(self.readiness, name)


def program_of(readiness: Path) -> str:
    """Return the name of the web program whose readiness directory it is: of the app's own, else gunicorn."""
    return _words_in(readiness, "program") or "gunicorn"


def _words_in(readiness: Path, name: str) -> str:
    text = logs.text_from(readiness / name, _MOST_BYTES, within=readiness)
    return " ".join(text[:_FIRST_WORDS].split())
