"""Of a flood of signals one is told, and no flood ends or holds up the process."""

import subprocess
import sys

_ONCE = """
import os, signal
from reconciler.linux.once_told import OnceTold
told = []
signal.signal(signal.SIGCHLD, lambda *_: told.append(1))
once = OnceTold(signal.SIGCHLD)
def many():
    for _ in range(20):
        pid = os.posix_spawn("/bin/true", ["true"], {})
        assert os.waitpid(pid, 0) == (pid, 0)  # it may be waited for as ever
many()
found = [len(told)]
once.ask()
found.append(len(told))
many()
print(*found, len(told))
"""
_FLOODED = """
import asyncio, os, signal
from reconciler.linux.loops import run
async def main():
    loop, ended, heard = asyncio.get_running_loop(), asyncio.Event(), []
    loop.add_signal_handler(signal.SIGUSR1, heard.append, 1)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    for _ in range(20_000):
        os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await ended.wait()
    print(0 < len(heard) < 20_000)
run(main())
"""


def _run(code: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip(), done.stderr


def test_a_signal_is_told_once_until_it_is_asked_for_again() -> None:
    assert _run(_ONCE) == ("1 1 2", "")


def test_a_loop_that_takes_signals_too_slowly_says_nothing_of_it_and_goes_on() -> None:
    assert _run(_FLOODED) == ("True", "")
