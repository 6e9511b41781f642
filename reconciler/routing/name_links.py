"""The links by which the proxy serves names, as they lie in its directory: looked at, and made as they are to be."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from reconciler.linux.remove_tree import remove_tree
from reconciler.planning.routing.linked_names import KEYS, LINKS, Link

_UP = "../"  # a link leads on from its own directory


class NameLinks:
    """The links in `directory`; what is in their place and no link of ours is removed."""

    def __init__(self, directory: Path) -> None:
        self._links, self._keys = directory / LINKS, directory / KEYS

    def look(self) -> Mapping[str, Link]:
        """Return every name with where it leads; one that is half made leads nowhere. Blocks."""
        found = {}
        for name in {*_names(self._keys), *_names(self._links)}:
            target, keys = "", _names(self._keys / name)
            with suppress(OSError):
                target = os.readlink(self._links / name).removeprefix(_UP)  # noqa: PTH115  text, and no path
            found[name] = Link(target=target, key=keys[0] if len(keys) == 1 else "")
        return found

    def make(self, wanted: Mapping[str, Link]) -> None:
        """Have just these names, each whole before it is served. Blocks; raises OSError."""
        before = self.look()
        if not wanted and not before:
            return
        for directory in (self._links, self._keys):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in before.keys() - wanted.keys():
            self._remove(name)
        for name, link in wanted.items():
            if before.get(name) != link:
                self._put(name, link)

    def _put(self, name: str, link: Link) -> None:
        # The key of the app before goes first: no app is ever reached with that of another.
        place, directory, draft = self._links / name, self._keys / name, self._links / f".{name}"
        for other in _names(directory):
            if other != link.key:
                _clear(directory / other)
        if not directory.is_dir() or directory.is_symlink():
            _clear(directory)
        _clear(draft)
        draft.symlink_to(f"{_UP}{link.target}")
        if not place.is_symlink():
            _clear(place)
        draft.replace(place)
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / link.key).touch(mode=0o600)

    def _remove(self, name: str) -> None:
        _clear(self._keys / name)
        _clear(self._links / name)


def _clear(path: Path) -> None:
    """Remove what is at a path, whatever it is. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _names(directory: Path) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(directory))  # noqa: PTH208  names are all there is to know
    return []
