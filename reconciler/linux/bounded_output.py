"""Run a program for a moment and read what it prints, of which no more than a given size is ever held in memory.

A program that prints more, or takes longer, is killed with all of its process group.
"""

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import IO, Any

_BLOCK_BYTES = 65536


class PrintsTooMuch(subprocess.SubprocessError):
    """A program that printed more than it may."""


def output_of(argv: list[str], *, within_s: float, at_most: int = 2**20, **options: Any) -> tuple[int, bytes]:
    """Return the exit status of a program and what it printed, of at most so many bytes.

    `options` are those of Popen. Raises OSError if it cannot be started, and subprocess.SubprocessError if it printed
    more or did not end in time.
    """
    until = time.monotonic() + within_s
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, **options
    ) as child:
        try:
            assert child.stdout is not None
            printed = _read(child.stdout, argv[0], at_most, until)
            return child.wait(max(0.0, until - time.monotonic())), printed
        except BaseException:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            raise


def _read(pipe: IO[bytes], program: str, at_most: int, until: float) -> bytes:
    printed, ready = bytearray(), select.poll()
    ready.register(pipe, select.POLLIN)
    while (left_s := until - time.monotonic()) > 0:
        if not ready.poll(left_s * 1000):
            continue
        block = os.read(pipe.fileno(), _BLOCK_BYTES)
        if not block:
            return bytes(printed)
        printed += block
        if len(printed) > at_most:
            raise PrintsTooMuch(f"{program} printed more than {at_most} bytes")
    raise subprocess.TimeoutExpired(program, until)
