"""Read how two commits differ, as `git diff-tree -r -t -z --raw` prints it. Pure."""

from collections.abc import Sequence
from dataclasses import field

from reconciler.linux.dataclass import dataclass

_NOTHING, _DIRECTORY = b"000000", b"040000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file that is new or another one: its mode, its object, and the bytes of its path."""

    mode: bytes
    id: str
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The difference between a commit and one before.

    `gone` are the paths of files that are no more, or others now, which are also among `files`. `directories` are the
    tree ids of those that are new or have changed, by path, and `directories_gone` the paths of those that are no more.
    """

    files: Sequence[Change] = ()
    gone: Sequence[bytes] = ()
    directories: dict[str, str] = field(default_factory=dict)
    directories_gone: frozenset[str] = frozenset()


def changes_of(printed: bytes) -> Changes | None:
    """Return what was printed of two commits, None for what is incomplete or not known."""
    parts = printed.split(b"\0")
    if parts.pop() or len(parts) % 2:
        return None
    files, gone, directories, directories_gone = [], [], {}, set()
    for head, path in zip(parts[::2], parts[1::2], strict=True):
        fields = head.removeprefix(b":").split()
        if not head.startswith(b":") or len(fields) != 5 or not head.isascii():
            return None
        before, after, _, object_id, _ = fields
        if before == _DIRECTORY and after != _DIRECTORY:
            directories_gone.add(path.decode(errors="surrogateescape"))
        if after == _DIRECTORY:
            directories[path.decode(errors="surrogateescape")] = object_id.decode()
        if before not in {_NOTHING, _DIRECTORY}:
            gone.append(path)
        if after not in {_NOTHING, _DIRECTORY}:
            files.append(Change(mode=after, id=object_id.decode(), path=path))
    return Changes(files=files, gone=gone, directories=directories, directories_gone=frozenset(directories_gone))
