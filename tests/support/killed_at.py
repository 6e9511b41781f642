"""Run a module of Python, and end it before its Nth effect on a directory: by a kill, or as a full disk would.

python -m tests.support.killed_at DIRECTORY NUMBER kill|full MODULE [WORD…]; at its own end it prints how many there
were as the last line on standard error. An effect is what creates, opens to write, renames, links or removes a file.
"""

import errno
import os
import runpy
import signal
import sys
from typing import Any

_EFFECTS = frozenset(("os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _ended_at(directory: str, number: int, how: str) -> list[int]:
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & _WRITES:
                return
        elif event not in _EFFECTS:
            return
        if not any(isinstance(each, (str, bytes)) and os.fsdecode(each).startswith(directory) for each in arguments):
            return
        seen[0] += 1
        if seen[0] < number:
            return
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if event not in ("os.remove", "os.rmdir"):  # a full disk still lets go
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), directory)

    sys.addaudithook(hook)
    return seen


if __name__ == "__main__":
    directory, number, how, module, *words = sys.argv[1:]
    sys.argv = [module, *words]
    count = _ended_at(directory, int(number), how)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        print(count[0], file=sys.stderr)
