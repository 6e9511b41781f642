"""Directories that go away at once, and stay away when the removal is interrupted: renamed first, emptied after."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

_GONE = ".gone-"
_DRAFT = ".draft-"


def draft(directory: Path, name: str) -> Path:
    """A path in `directory` for work on `name` that is renamed when it is finished, and is a leftover until then."""
    return directory / f"{_DRAFT}{name}-{token_hex(4)}"


def remove(path: Path) -> None:
    """Remove a directory, all of it or, when interrupted, all but what `leftovers` finds. Blocks."""
    if path.name.startswith((_GONE, _DRAFT)):
        gone = path
    else:
        gone = path.with_name(f"{_GONE}{path.name}-{token_hex(4)}")
        try:
            path.rename(gone)
        except FileNotFoundError:
            return
    shutil.rmtree(gone, ignore_errors=True)


def leftovers(directory: Path) -> Iterator[Path]:
    """Drafts and half-removed directories in `directory`."""
    return (path for path in directory.iterdir() if path.name.startswith((_GONE, _DRAFT)))
