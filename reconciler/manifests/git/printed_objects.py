"""Read what `git cat-file --batch` printed into a file, object by object, in any order."""

from collections.abc import Iterator
from pathlib import Path

from reconciler.manifests.git.tree_index import Index

_BLOCK = 65536


class PrintedObjects:
    """What `cat-file --batch` printed into a file, object by object."""

    def __init__(self, batch: Path) -> None:
        self._file = batch.open("rb")
        self._places: dict[str, tuple[int, int]] = {}
        try:
            while head := self._file.readline(_BLOCK):
                fields = head.decode("ascii", errors="replace").split()
                if len(fields) != 3 or fields[1] != "blob":
                    raise OSError(f"git does not know the object {' '.join(fields)[:80]}")
                at, size = self._file.tell(), int(fields[2])
                self._places[fields[0]] = (at, size)
                self._file.seek(at + size + 1)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def of(self, tree: Index) -> Iterator[tuple[str, bytes]]:
        """Yield the objects of a directory that were printed. Raises OSError for one that is incomplete."""
        for each in dict.fromkeys(entry.id for entry in tree.files.values()):
            if each not in self._places:
                continue
            at, size = self._places[each]
            self._file.seek(at)
            content = self._file.read(size)
            if len(content) != size or self._file.read(1) != b"\n":
                raise OSError("what git printed of an object is incomplete")
            yield each, content
