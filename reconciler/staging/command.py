"""A command line in, its exit awaited and its output in the staging log; nothing of it survives a failure.

The command leads a process group of its own. A cancellation or a timeout ends the whole group and waits for it, and
should this process be killed, the kernel kills the command.
"""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join

from reconciler.linux.child_processes import end, started
from reconciler.staging import bounded_exec
from reconciler.staging.errors import StagingError
from reconciler.staging.installer_progress import Progress
from reconciler.staging.log import Log

_LAST_LINES = 5
_LONGEST_ERROR = 12
_GRACE_S = 2.0
_TICK_S = 1.0
_LEASH = (sys.executable, "-I", "-S", bounded_exec.__file__)
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run; `doing` is what it does, as an operator would say it: "installing requirements".

    `held` are descriptors the command keeps open for as long as it lives, `into` a file for its standard output, which
    otherwise is logged, and `detail` says how far it is from what it says, once a second.
    """

    doing: str
    arguments: tuple[str, ...]
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    held: Sequence[int] = ()
    into: Path | None = None
    detail: Progress | None = None


async def run(command: Command, log: Log, progress: Callable[[str], None]) -> None:
    """Run it to its end; StagingError with its own last words when it fails."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    log.say(f"{command.doing}: {join(command.arguments)}")
    process = await started(_start(command), _GRACE_S)
    try:
        last = await _relay(process, log, _Clock(command, progress))
        code = await process.wait()
    except BaseException:
        log.say(f"{command.doing}: ended after {loop.time() - began:.1f} s")
        await end(process, _GRACE_S)
        raise
    took = loop.time() - began
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        log.say(f"{command.doing}: {how} after {took:.1f} s")
        raise StagingError("\n".join((f"{Path(command.arguments[0]).name}: {how}", *last)))
    log.say(f"{command.doing}: done in {took:.1f} s")


async def _start(command: Command) -> asyncio.subprocess.Process:
    with ExitStack() as files:
        into = None if command.into is None else files.enter_context(command.into.open("wb"))
        return await asyncio.create_subprocess_exec(
            *_LEASH,
            str(os.getpid()),
            *command.arguments,
            cwd=command.directory,
            env=dict(command.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=into or asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if into else asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=command.held,
        )


async def _relay(process: asyncio.subprocess.Process, log: Log, clock: "_Clock") -> tuple[str, ...]:
    """Output into the log as it comes; the last lines that say anything."""
    last: deque[str] = deque(maxlen=_LONGEST_ERROR)
    output = process.stdout or process.stderr
    assert output is not None
    pending = b""
    while True:
        clock.show()
        try:
            async with asyncio.timeout(_TICK_S):
                block = await output.read(_LONGEST_LINE)
        except TimeoutError:
            continue
        if not block:
            break
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > _LONGEST_LINE:
            lines, pending = [*lines, pending], b""
        for line in lines:
            _keep(line, last, log, clock)
    _keep(pending, last, log, clock)
    return _telling(tuple(last))


def _telling(last: tuple[str, ...]) -> tuple[str, ...]:
    """The lines to show of the last ones: an error and all its causes, or the very last where none begins with it."""
    errors = [at for at, line in enumerate(last) if line.startswith(("error:", "ERROR:"))]
    return last[min([*errors[-1:], max(0, len(last) - _LAST_LINES)]) :]


def _keep(line: bytes, last: deque[str], log: Log, clock: "_Clock") -> None:
    text = log.repeat(line.decode(errors="backslashreplace").rstrip())
    if text:
        clock.hear(text)
        last.append(text)


class _Clock:
    """Tells `progress` what is being done, how far it is, and for how long it has been."""

    def __init__(self, command: Command, progress: Callable[[str], None]) -> None:
        self._doing = command.doing
        self._detail = command.detail
        self._progress = progress
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._shown = ""
        self._next_at = 0.0

    def hear(self, line: str) -> None:
        if self._detail is not None:
            self._detail.hear(line)

    def show(self) -> None:
        now = self._now()
        if self._shown and now < self._next_at:
            return
        self._next_at = now + _TICK_S
        elapsed_s = int(now - self._began)
        far = self._detail.far() if self._detail is not None else ""
        shown = f"{self._doing}{far and f': {far}'}{f' ({elapsed_s} s)' if elapsed_s else ''}"
        if shown != self._shown:
            self._shown = shown
            self._progress(shown)
