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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join

from reconciler.staging import leash
from reconciler.staging.failure import StagingError
from reconciler.staging.log import Log, masked

_LAST_LINES = 5
_GRACE_S = 2.0
_TICK_S = 1.0
_LEASH = (sys.executable, "-I", "-S", leash.__file__)
_LONGEST_LINE = 1 << 16

# What an installer may know of our own environment. All else could change what is installed, and where to.
_ALLOWED = frozenset(
    (
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NETRC",
        "UV_INDEX",
        "UV_DEFAULT_INDEX",
        "UV_EXTRA_INDEX_URL",
    )
)
_ALLOWED_PREFIX = "UV_INDEX_"


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that an installer may see."""
    return {name: value for name, value in environ.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIX)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run; `doing` is what it does, as an operator would say it: "installing requirements".

    `held` are descriptors the command keeps open for as long as it lives.
    """

    doing: str
    arguments: tuple[str, ...]
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    held: Sequence[int] = ()


async def run(command: Command, log: Log, progress: Callable[[str], None]) -> None:
    """Run it to its end; StagingError with its own last words when it fails."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    log.say(f"{command.doing}: {join(command.arguments)}")
    process = await asyncio.create_subprocess_exec(
        *_LEASH,
        str(os.getpid()),
        *command.arguments,
        cwd=command.directory,
        env=dict(command.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=command.held,
    )
    try:
        last = await _relay(process, log, _Clock(command.doing, progress))
        code = await process.wait()
    except BaseException:
        log.say(f"{command.doing}: ended after {loop.time() - began:.1f} s")
        await _end(process)
        raise
    took = loop.time() - began
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        log.say(f"{command.doing}: {how} after {took:.1f} s")
        raise StagingError("\n".join((f"{Path(command.arguments[0]).name}: {how}", *last)))
    log.say(f"{command.doing}: done in {took:.1f} s")


async def _relay(process: asyncio.subprocess.Process, log: Log, clock: "_Clock") -> tuple[str, ...]:
    """Output into the log as it comes; the last lines that say anything."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    assert process.stdout is not None
    pending = b""
    while True:
        clock.show()
        try:
            async with asyncio.timeout(_TICK_S):
                block = await process.stdout.read(_LONGEST_LINE)
        except TimeoutError:
            continue
        if not block:
            break
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > _LONGEST_LINE:
            lines, pending = [*lines, pending], b""
        for line in lines:
            _keep(line, last, log)
    _keep(pending, last, log)
    return tuple(last)


def _keep(line: bytes, last: deque[str], log: Log) -> None:
    text = masked(line.decode(errors="backslashreplace").rstrip())
    if text:
        log.repeat(text)
        last.append(text)


class _Clock:
    """Tells `progress` what is being done, and for how long."""

    def __init__(self, doing: str, progress: Callable[[str], None]) -> None:
        self._doing = doing
        self._progress = progress
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._shown = ""

    def show(self) -> None:
        elapsed_s = int(self._now() - self._began)
        shown = f"{self._doing} ({elapsed_s} s)" if elapsed_s else self._doing
        if shown != self._shown:
            self._shown = shown
            self._progress(shown)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole group and wait for it; a second cancellation only shortens the wait."""
    try:
        _signal(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
    finally:
        _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
