"""A server's own program in, its exit awaited; secrets reach it through its environment and never show.

It leads a process group of its own. A cancellation or a timeout ends the whole group and waits for it, and should this
process be killed, the kernel kills the program.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from reconciler.linux.child_processes import end, started
from reconciler.services.provisioner import Misconfigured, ServiceError
from reconciler.vault.secret_patterns import redacted

LONGEST_S = 3600.0
_LAST_BYTES = 4096
_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What to run: `argv` without secrets, and the package it comes from.

    `environment` is added to PATH and LANG. `into` is a new file for what it prints, `out_of` one it reads.
    """

    argv: tuple[str, ...]
    package: str
    environment: Mapping[str, str] = field(repr=False)
    into: Path | None = None
    out_of: Path | None = None


def found(names: Sequence[str], package: str) -> str:
    """The first of these programs that is on PATH; Impossible when none is."""
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    raise Misconfigured(f"{names[0]} is not on this host; it comes with the package {package}")


async def run(tool: Tool, hide: Sequence[str] = ()) -> None:
    """Run it to its end, within an hour; ServiceError with its own last word when it fails, without what to hide."""
    async with _running(tool, LONGEST_S, talks=False) as process:
        last = await _last_bytes(process)
        code = await process.wait()
    _see(tool, code, last, hide)


async def answer(tool: Tool, told: bytes | None, within_s: float, hide: Sequence[str] = ()) -> bytes:
    """What it prints when it is told this on its standard input: little of both."""
    async with _running(tool, within_s, talks=True) as process:
        printed, last = await process.communicate(told)
    _see(tool, process.returncode or 0, last, hide)
    return printed


@asynccontextmanager
async def _running(tool: Tool, within_s: float, *, talks: bool) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is there as long as this is, and so long at most; started whole or not at all."""
    program = found(tool.argv[:1], tool.package)
    process = await started(_start(program, tool, talks=talks))
    try:
        async with asyncio.timeout(within_s):
            yield process
    except TimeoutError as error:
        raise ServiceError(f"{Path(program).name} did not end within {within_s:g} s") from error
    finally:
        await end(process)


def _see(tool: Tool, code: int, last: bytes, hide: Sequence[str]) -> None:
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        raise ServiceError(f"{Path(tool.argv[0]).name} failed ({how}): {_words(last, hide)}")


def publish(draft: Path, file: Path) -> None:
    """What was written is on the disk before it has its name."""
    try:
        for path in (draft, file.parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if path == draft:
                draft.rename(file)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {error.strerror}") from error


async def _start(program: str, tool: Tool, *, talks: bool) -> asyncio.subprocess.Process:
    leash = shutil.which("setpriv")
    argv = (program, *tool.argv[1:])
    with ExitStack() as files:
        into = files.enter_context(new(tool.into)) if tool.into else None
        out_of = files.enter_context(readable(tool.out_of)) if tool.out_of else None
        return await asyncio.create_subprocess_exec(
            *((leash, "--pdeathsig", "KILL", "--", *argv) if leash else argv),
            cwd="/",
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "C.UTF-8",
                "LC_ALL": "C.UTF-8",
                **tool.environment,
            },
            stdin=asyncio.subprocess.PIPE if talks else out_of or asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if talks else into or asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )


def new(file: Path) -> BinaryIO:
    """A file that was not there, for nobody else to read."""
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {error.strerror}") from error


def readable(file: Path) -> BinaryIO:
    """A file that is there."""
    try:
        return file.open("rb")
    except OSError as error:
        raise ServiceError(f"cannot read {file}: {error.strerror}") from error


async def _last_bytes(process: asyncio.subprocess.Process) -> bytes:
    assert process.stderr is not None
    last = b""
    while block := await process.stderr.read(_LAST_BYTES):
        last = (last + block)[-_LAST_BYTES:]
    return last


def _words(last: bytes, hide: Sequence[str]) -> str:
    """The line that says what went wrong; the data that may stand in the lines around it stays out."""
    lines = [line.strip() for line in last.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    words = (errors or lines[-1:] or ["it did not say why"])[0]
    return redacted(words, hide)[:_LONGEST_WORDS]
