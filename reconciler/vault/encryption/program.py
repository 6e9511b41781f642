"""Have a program of the host's settings open a file that no identity of this host opens, as with a key of a cloud.

It is run without a shell, gets the file's path as its last word, and prints what is in it. Its time and its output are
bounded; its whole group ends with it, and with this process.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from reconciler.linux.child_processes import bound_to_us
from reconciler.vault.encryption.age import CannotOpen

_WITHIN_S = 30.0
_MOST = 1024 * 1024
_BLOCK = 65536


def opened(words: Sequence[str], file: Path, within_s: float = _WITHIN_S) -> bytes:
    """Return what the program prints of a file. Raises CannotOpen; blocks."""
    if shutil.which(words[0]) is None:
        raise CannotOpen(f"cannot run {words[0]} of 'git.open': there is no such program")
    argv, quiet = bound_to_us((*words, str(file))), subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            argv, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, start_new_session=True, bufsize=0
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its words are none of a command"
        raise CannotOpen(f"cannot run {words[0]} of 'git.open': {why}") from None
    with process:
        try:
            output = _output(process, words[0], time.monotonic() + within_s)
            status = process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise _late(words[0], within_s) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if output is None:
        raise _late(words[0], within_s)
    if status != 0:
        raise CannotOpen(f"{words[0]} of 'git.open' ended with status {status}; run it by hand to see why")
    return output


def _output(process: "subprocess.Popen[bytes]", name: str, until: float) -> bytes | None:
    """Return all that a program prints, None if it does not end in time. Raises CannotOpen for too much."""
    assert process.stdout is not None
    ready = select.poll()
    ready.register(process.stdout, select.POLLIN)
    output = b""
    while (left_s := until - time.monotonic()) > 0:
        if not ready.poll(left_s * 1000):
            break
        more = os.read(process.stdout.fileno(), _BLOCK)
        if not more:
            return output
        output += more
        if len(output) > _MOST:
            raise CannotOpen(f"{name} of 'git.open' printed more than 1 MiB")
    os.killpg(process.pid, signal.SIGKILL)
    return None


def _late(name: str, within_s: float) -> CannotOpen:
    return CannotOpen(f"{name} of 'git.open' did not end within {within_s:g} s")
