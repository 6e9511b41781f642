"""Identify what is at a place of a commit, with all that symbolic links lead to from there. Pure.

The id of a directory does not change with what its links lead to, nor that of a link. Here, whatever could be read
there counts.
"""

import hashlib
import json
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping

from reconciler.manifests.git.tree_limits import resolved

_MOST_PLACES = 1000
_LONGEST = 4096


class ReachedFiles:
    """The places of one commit: `ids` by path, of files and directories, and what its `links` contain, by path."""

    def __init__(self, ids: Mapping[str, str], links: Mapping[str, bytes]) -> None:
        self._ids = ids
        self._links = links
        self._inside: defaultdict[str, list[str]] = defaultdict(list)
        for link in links:
            for directory in _above(link):
                self._inside[directory].append(link)

    def version(self, place: str) -> str:
        """Return what changes with whatever can be read at a place; "" if nothing is there.

        Where links lead on and on, that is the whole commit.
        """
        found: dict[str, str] = {}
        todo = [place]
        while todo:
            path = todo.pop()
            if path in found:
                continue
            if len(found) == _MOST_PLACES or len(path) > _LONGEST:
                return f"all of {self._ids.get('', '')}"
            link = next((each for each in (*_above(path), path) if each in self._links), None)
            found[path] = self._ids.get(path if link is None else link, "")
            if link is None:
                todo += self._inside.get(path, ())
            elif (target := self._target(link)) is not None:
                todo.append(posixpath.normpath(f"{target}/{path[len(link) :]}").strip("/"))
        if len(found) == 1:
            return found[place]
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def _target(self, link: str) -> str | None:
        try:
            return resolved(posixpath.dirname(link), self._links[link].decode())
        except UnicodeDecodeError:
            return None


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path lies in below the top, the outermost first."""
    yield from (path[:at] for at, character in enumerate(path) if character == "/")
