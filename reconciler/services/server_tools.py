"""Run a server's own programs; secrets reach them through the environment and appear in no message.

A program leads its own process group. A cancellation or a timeout ends the whole group and waits for it; if this
process is killed, the kernel kills the program.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import field
from pathlib import Path
from typing import BinaryIO

from reconciler.linux import files
from reconciler.linux.child import Child
from reconciler.linux.child_processes import bound_to_us, running
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.services.provisioner import Misconfigured, ServiceError
from reconciler.vault.secret_patterns import redacted

TIMEOUT_S = 3600.0
_LAST_BYTES = 4096
_MAX_QUOTE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program to run: `argv` without secrets, and the package it comes from.

    `environment` is added to PATH and LANG. `into` is a new file for its output, `out_of` a file for its input.
    """

    argv: tuple[str, ...]
    package: str
    environment: Mapping[str, str] = field(repr=False)
    into: Path | None = None
    out_of: Path | None = None


def found(names: Sequence[str], package: str) -> str:
    """Return the path of the first of these programs that is on PATH. Raises Misconfigured if none is."""
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    raise Misconfigured(f"{names[0]} is not installed; install the package {package}")


async def run(tool: Tool, hide: Sequence[str] = ()) -> None:
    """Run a program within an hour. Raises ServiceError with its own error message, without `hide`, if it fails."""
    async with _running(tool, TIMEOUT_S, piped=False) as process:
        last = await _last_bytes(process)
        code = await process.wait()
    _check(tool, code, last, hide)


async def answer(tool: Tool, stdin: bytes | None, within_s: float, hide: Sequence[str] = ()) -> bytes:
    """Run a program with this standard input and return its output, both held in memory."""
    async with _running(tool, within_s, piped=True) as process:
        printed, last = await process.communicate(stdin)
    _check(tool, process.returncode or 0, last, hide)
    return printed


@asynccontextmanager
async def _running(tool: Tool, within_s: float, *, piped: bool) -> AsyncIterator[Child]:
    """Run a tool for as long as the context lasts, and no longer than that. Raises ServiceError."""
    program = found(tool.argv[:1], tool.package)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    with ExitStack() as opened:
        into = opened.enter_context(new(tool.into)) if tool.into else None
        out_of = opened.enter_context(readable(tool.out_of)) if tool.out_of else None
        try:
            async with running(
                bound_to_us((program, *tool.argv[1:])),
                within_s,
                cwd="/",
                env={**environment, **tool.environment},
                stdin=asyncio.subprocess.PIPE if piped else out_of or asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else into or asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            ) as process:
                yield process
        except TimeoutError as error:
            raise ServiceError(f"{Path(program).name} did not end within {within_s:g} s") from error


def _check(tool: Tool, code: int, last: bytes, hide: Sequence[str]) -> None:
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        raise ServiceError(f"{Path(tool.argv[0]).name} failed ({how}): {_error_line(last, hide)}")


def publish(draft: Path, file: Path) -> None:
    """Flush a draft to the disk, then give it its name. Raises ServiceError."""
    try:
        files.publish(draft, file)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {in_words(error)}") from error


def new(file: Path) -> BinaryIO:
    """Create a file that only its owner can read. Raises ServiceError if it exists."""
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {in_words(error)}") from error


def readable(file: Path) -> BinaryIO:
    """Open a file. Raises ServiceError."""
    try:
        return file.open("rb")
    except OSError as error:
        raise ServiceError(f"cannot read {file}: {in_words(error)}") from error


async def _last_bytes(process: Child) -> bytes:
    assert process.stderr is not None
    last = b""
    while block := await process.stderr.read(_LAST_BYTES):
        last = (last + block)[-_LAST_BYTES:]
    return last


def _error_line(last: bytes, hide: Sequence[str]) -> str:
    """Return the line with the error; the lines around it may hold data."""
    lines = [line.strip() for line in last.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    line = (errors or lines[-1:] or ["it printed no error"])[0]
    return redacted(line, hide)[:_MAX_QUOTE]
