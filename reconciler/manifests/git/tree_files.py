"""Write the files of a tree, and the links to its shared directories, below directories that were made."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from reconciler.linux.regular_files import read_own
from reconciler.manifests.git.tree_limits import Entry
from reconciler.manifests.git.written_files import FILE_MODE, PROGRAM_MODE


def write_files(
    files: Mapping[str, Entry],
    made: dict[str, str],
    linked: Mapping[tuple[str, str], str],
    contents: Iterator[tuple[str, bytes]],
) -> None:
    """Write files below the directories that were `made`, the top among them as ""."""
    by_object: dict[str, list[tuple[str, Entry]]] = {}
    top = made[""]
    for path, entry in files.items():
        directory = path.rpartition("/")[0]
        if directory not in made:
            _make(directory, made)
        other = linked.get((entry.kind, entry.id))
        if other is not None:
            _link_or_copy(other, f"{top}/{path}", entry)
            continue
        by_object.setdefault(entry.id, []).append((path, entry))
    for object_id, content in contents:
        for path, entry in by_object.pop(object_id, ()):
            _write_file(f"{top}/{path}", entry, content)
    if by_object:
        raise OSError(f"git did not print {len(by_object)} of the objects")


def link_to(target: str, path: str, made: dict[str, str], before: str) -> None:
    """Put a link below the directories that were `made`: quickly if that of the tree before is the same."""
    directory = path.rpartition("/")[0]
    if directory not in made:
        _make(directory, made)
    link = f"{made['']}/{path}"
    with contextlib.suppress(OSError):
        os.link(f"{before}/{path}", link, follow_symlinks=False)
        if os.readlink(link) == target:  # noqa: PTH115  the text of it
            return
        os.unlink(link)  # noqa: PTH108  of another
    os.symlink(target, link)  # noqa: PTH211  one of hundreds


def _make(directory: str, made: dict[str, str]) -> None:
    """Make a directory below those that were `made`, with what is above it."""
    above, _, name = directory.rpartition("/")
    if above not in made:
        _make(above, made)
    made[directory] = f"{made[above]}/{name}"
    os.mkdir(made[directory], 0o755)  # noqa: PTH102  one of thousands


def _link_or_copy(other: str, path: str, entry: Entry) -> None:
    try:
        os.link(other, path)
    except OSError:  # the file system allows only so many
        _write_file(path, entry, read_own(other, entry.size + 1))


def _write_file(path: str, entry: Entry, content: bytes) -> None:
    if entry.kind == "link":
        os.symlink(content, os.fsencode(path))  # noqa: PTH211  the bytes of the object, as they are
        return
    mode = PROGRAM_MODE if entry.kind == "program" else FILE_MODE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
