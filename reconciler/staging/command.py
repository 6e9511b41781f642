"""Run a command to its end, its output in the staging log; no command leaves a process behind, however it ends.

A cancellation or a timeout ends the command with all that it started, and waits for it; so does a kill of this process.
"""

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field
from pathlib import Path
from shlex import join
from typing import TypeAlias

from reconciler.convergence.rests import Rests
from reconciler.linux.child import Child
from reconciler.linux.child_processes import bound_with_descendants, end, start
from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import written_anew
from reconciler.staging.errors import CommandFailed
from reconciler.staging.installer_output import explained
from reconciler.staging.installer_progress import InstallerProgress
from reconciler.staging.log import Log
from reconciler.staging.progress import Phase, Progress

_TAIL_LINES = 200
_MAX_SHOWN = 2000
_ENVIRONMENT = ("Using Python ", "Using CPython ", "Using PyPy ")  # uv, about what it was told
_GRACE_S = 2.0
_TICK_S = 1.0
_NICE = 10  # it gives way to instances
_MAX_LINE_BYTES = 1 << 16
_LINES_AT_ONCE = 500
_BRIEF_S = 0.01  # of a processor; what installers print at once takes less


# Returns a command and its variables as those of a command that confines itself first.
Confined: TypeAlias = Callable[[tuple[str, ...], Mapping[str, str]], tuple[tuple[str, ...], Mapping[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line with its environment; `activity` describes it to an operator: "installing requirements.txt".

    `pass_fds` are descriptors that stay open until the command and all that it started have ended, `stdout` is a file
    for its standard output, which is logged otherwise, and `progress` turns its output into how far it is. `shown` is
    logged instead of the arguments. `confined` is None for one that runs as the daemon does.
    """

    activity: str
    arguments: tuple[str, ...]
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    pass_fds: Sequence[int] = ()
    stdout: Path | None = None
    progress: InstallerProgress | None = None
    shown: str = ""
    confined: Confined | None = None


async def run(command: Command, log: Log, progress: Progress) -> None:
    """Run a command; raises CommandFailed, which says in one line why, if it fails."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    log.step(f"{command.activity}: {command.shown or join(command.arguments)}")
    process = await _start(command)
    try:
        last = await _log_output(process, log, _Reporter(command, progress))
        code = await process.wait()
    except BaseException:
        log.step(f"{command.activity}: ended after {loop.time() - began:.1f} s")
        await end(process, _GRACE_S)
        raise
    took_s = loop.time() - began
    if code != 0:
        exit_status = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        log.step(f"{command.activity}: {exit_status} after {took_s:.1f} s")
        why = explained(last)
        message = f"{Path(command.arguments[0]).name} failed ({exit_status}){f': {why}' if why else ''}"
        raise CommandFailed(message, exit_status, last)
    log.step(f"{command.activity}: done in {took_s:.1f} s")


async def _start(command: Command) -> Child:
    with ExitStack() as files:
        stdout = None if command.stdout is None else files.enter_context(os.fdopen(written_anew(command.stdout), "wb"))
        arguments, environment = command.arguments, command.environment
        if command.confined is not None:
            arguments, environment = command.confined(arguments, environment)
        return await start(
            bound_with_descendants(arguments, nice=_NICE),
            _GRACE_S,
            cwd=command.directory,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout or asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if stdout else asyncio.subprocess.STDOUT,
            pass_fds=command.pass_fds,
        )


async def _log_output(process: Child, log: Log, reporter: "_Reporter") -> tuple[str, ...]:
    """Write the output to the log as it arrives; returns its last lines."""
    last: deque[str] = deque(maxlen=_TAIL_LINES)
    output = process.stdout or process.stderr
    assert output is not None
    pending = b""
    while True:
        reporter.report()
        try:
            async with asyncio.timeout(_TICK_S):
                block = await output.read(_MAX_LINE_BYTES)
        except TimeoutError:
            if process.returncode is not None:  # what escaped with it may hold its output open
                break
            continue
        if not block:
            break
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > _MAX_LINE_BYTES:
            lines, pending = [*lines, pending], b""
        await _log_lines(lines, last, log, reporter)
    _log_line(pending, last, log, reporter)
    return tuple(last)


async def _log_lines(lines: Sequence[bytes], last: deque[str], log: Log, reporter: "_Reporter") -> None:
    """Write lines down: of commands that print as fast as they can, so slowly that they keep nothing else waiting."""
    for first in range(0, len(lines), _LINES_AT_ONCE):
        began = time.thread_time()
        for line in lines[first : first + _LINES_AT_ONCE]:
            _log_line(line, last, log, reporter)
        took_s = time.thread_time() - began
        if len(lines) > _LINES_AT_ONCE or took_s > _BRIEF_S:  # as a long one of what is no text does
            await _resting.rest(took_s)


_resting = Rests()


def _log_line(line: bytes, last: deque[str], log: Log, reporter: "_Reporter") -> None:
    text = log.output(line.decode(errors="backslashreplace").rstrip())
    if text:
        reporter.feed(text)
        if not text.startswith(_ENVIRONMENT):
            last.append(text[:_MAX_SHOWN])


class _Reporter:
    """Reports the phase of a command, once a second and only if it changed."""

    def __init__(self, command: Command, progress: Progress) -> None:
        self._activity = command.activity
        self._installer = command.progress
        self._progress = progress
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._reported: Phase | None = None
        self._next_at = 0.0

    def feed(self, line: str) -> None:
        if self._installer is not None:
            self._installer.feed(line)

    def report(self) -> None:
        now = self._now()
        if self._reported is not None and now < self._next_at:
            return
        self._next_at = now + _TICK_S
        detail = self._installer.summary() if self._installer is not None else ""
        phase = Phase(activity=self._activity, detail=detail, elapsed_s=int(now - self._began))
        if phase != self._reported:
            self._reported = phase
            self._progress(phase)
