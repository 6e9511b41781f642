"""A command of `reconciler`, run by a process that was forked from one that has everything loaded."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.cli.main import main

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def command(words: Sequence[str], directory: Path, env: Mapping[str, str], output: Path, errors: Path) -> None:
    """Do in this process what `python -m reconciler WORDS` does in its own, with its streams in files."""
    _obey("reconciler", words, directory, env, (output, os.O_TRUNC), (errors, os.O_TRUNC))


def run(words: Sequence[str], directory: Path, env: Mapping[str, str], console: Path) -> None:
    """Do the same for one that goes on, in a session of its own, and add what it prints to a file."""
    os.setsid()
    die_with_the_tests()
    program = str(directory / "reconciler" / "__main__.py")
    _obey(program, words, directory, env, (console, os.O_APPEND), (console, os.O_APPEND))


def die_with_the_tests() -> None:
    """Have this process killed when the tests are."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _obey(
    program: str, words: Sequence[str], directory: Path, env: Mapping[str, str], *streams: tuple[Path, int]
) -> None:
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    for number, (file, how) in enumerate(((Path(os.devnull), 0), *streams)):
        opened = os.open(file, how | os.O_CREAT | os.O_WRONLY if number else os.O_RDONLY, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = [program, *words]
    main()
