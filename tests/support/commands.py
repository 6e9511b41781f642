"""A command of `reconciler`, run by a process that was forked from one that has everything loaded."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.cli.main import main


def command(words: Sequence[str], directory: Path, env: Mapping[str, str], output: Path, errors: Path) -> None:
    """Do in this process what `python -m reconciler WORDS` does in its own, with its streams in files."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    for number, file, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(file, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["reconciler", *words]
    main()
