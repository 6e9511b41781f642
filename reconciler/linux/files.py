"""Write files and remove directories so that a kill or a power cut at any moment leaves all of one or nothing.

A file is drafted beside its name and renamed into place; a directory is renamed first and emptied afterwards.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from reconciler.linux.regular_files import UnfitFile
from reconciler.linux.remove_tree import remove_tree

_GONE = ".gone-"
_DRAFT = ".draft-"
_RANDOM_BYTES = 4
_LONGEST = 40  # letters, of up to four bytes each, of at most 255 in a name
_FICLONE = 0x40049409  # linux/fs.h


def replace_file(path: Path, content: str | bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Put a file with exactly this content and mode in place of `path`. Raises OSError; blocks.

    A durable one survives a power cut; another may be empty after it, and its reader has to expect that.
    """
    with replacing(path, durable=durable) as draft:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask left of it
            file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Rename what the context writes to the draft it is given into the place of `path`; a failure leaves no draft."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)  # left by a process that was killed
    try:
        yield draft
        publish(draft, path) if durable else draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def publish(draft: Path, path: Path) -> None:
    """Rename a finished draft; its content and its name are on the disk afterwards. Raises OSError; blocks."""
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def draft(directory: Path, name: str) -> Path:
    """Name a path in `directory` for work on `name`, to be renamed when finished and a leftover until then."""
    return directory / f"{_DRAFT}{name}-{os.urandom(_RANDOM_BYTES).hex()}"


def remove(path: Path) -> None:
    """Remove a directory, all of it or, when interrupted, all but what `leftovers` finds. Raises OSError; blocks."""
    if (gone := set_aside(path)) is not None:
        remove_tree(gone)


def set_aside(path: Path) -> Path | None:
    """Rename what is to be removed, so that it is gone at once and a leftover until it is removed.

    Returns where it is now, None if there is nothing. Raises OSError.
    """
    if is_leftover(path.name):
        return path
    gone = path.with_name(f"{_GONE}{path.name[:_LONGEST]}-{os.urandom(_RANDOM_BYTES).hex()}")
    try:
        return path.rename(gone)
    except FileNotFoundError:
        return None


def is_leftover(name: str) -> bool:
    """Tell whether this is the name of a draft or of what was set aside."""
    return name.startswith((_GONE, _DRAFT))


def leftovers(directory: Path) -> Iterator[Path]:
    """Find drafts and half-removed directories in `directory`."""
    return (path for path in directory.iterdir() if is_leftover(path.name))


def leftovers_of(directory: Path, name: str) -> Iterator[Path]:
    """Find those in `directory` that are of one name, as `draft` and `set_aside` name them."""
    whole, cut = f"{_DRAFT}{name}-", f"{_GONE}{name[:_LONGEST]}-"
    return (path for path in leftovers(directory) if path.name[: -2 * _RANDOM_BYTES] in (whole, cut))


def make_below(top: Path, relative: Path) -> Path:
    """Create `top` and the directories of `relative` below it, all 0700, and return the last.

    Raises OSError, also where a link, which an app may have made, would lead somewhere else.
    """
    top.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = top
    for part in ("", *relative.parts):
        directory /= part
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        require_no_link(directory)
    return directory


def require_within(top: Path, relative: Path) -> Path:
    """Return a path below `top`. Raises OSError where a link, which a stranger may have made, leads out of it."""
    found = Path(os.path.realpath(top / relative))
    if not found.is_relative_to(os.path.realpath(top)):
        raise UnfitFile(f"it is a symbolic link that leads out of {top}", top / relative)
    return top / relative


def require_no_link(directory: Path) -> None:
    """Raise OSError if a link, which an app may have made, or a file is in the place of a directory that exists."""
    mode = directory.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise UnfitFile("it is a symbolic link, which is not followed: remove it, or mount what it leads to", directory)
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


@cache
def has_reflinks(directory: Path) -> bool:
    """Tell whether the file system of a directory, which is created, lets two files share their blocks until written.

    Found out by one such file, once for each directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = draft(directory, "reflink"), draft(directory, "reflink")
    try:
        with paths[0].open("xb") as original, paths[1].open("xb") as clone:
            original.write(b"x" * 4096)
            original.flush()
            fcntl.ioctl(clone, _FICLONE, original.fileno())
    except OSError:
        return False
    else:
        return True
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
