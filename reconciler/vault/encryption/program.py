"""Have a program of the host's settings open a file that no identity of this host opens, as with a key of a cloud.

It is run without a shell, gets the file's path as its last word, and prints what is in it. Its time and its output are
bounded; whatever it started ends with it, and it ends with this process.
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

from reconciler.linux.child_processes import bound_with_descendants
from reconciler.vault.encryption.age import CannotOpen

_WITHIN_S = 30.0
_GRACE_S = 5.0
_MOST = 1024 * 1024
_BLOCK = 65536


def opened(words: Sequence[str], file: Path, within_s: float = _WITHIN_S) -> bytes:
    """Return what the program prints of a file. Raises CannotOpen; blocks."""
    if shutil.which(words[0]) is None:
        raise CannotOpen(f"cannot run {words[0]} of 'git.open': there is no such program")
    argv, quiet = bound_with_descendants((*words, str(file))), subprocess.DEVNULL
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
            status = None if output is None else process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise _late(words[0], within_s) from None
        finally:
            _end(process)
    if output is None:
        raise _late(words[0], within_s)
    if status != 0:
        raise CannotOpen(f"{words[0]} of 'git.open' ended with status {status}; run it by hand to see why")
    if not output.strip():
        raise CannotOpen(f"{words[0]} of 'git.open' printed nothing; run it by hand to see why")
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
    return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a program, and whatever it started, which the one that it runs under does within its own grace."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _late(name: str, within_s: float) -> CannotOpen:
    return CannotOpen(f"{name} of 'git.open' did not end within {within_s:g} s")
