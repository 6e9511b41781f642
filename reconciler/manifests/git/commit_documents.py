"""Read what the manifests of commits ask for, one commit after the other. A manifest that many have is read once."""

import asyncio
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import field

from reconciler.documents.problem import Path
from reconciler.documents.text import LARGEST_MANIFEST
from reconciler.documents.tree import Node
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.directory_files import is_manifest
from reconciler.manifests.git.candidate import NotAccepted
from reconciler.manifests.git.contents import Contents, documents
from reconciler.manifests.git.fence import named_files
from reconciler.manifests.git.fleet_file import FILE as FLEET
from reconciler.manifests.git.fleet_file import is_fleet
from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.reached_files import ReachedFiles
from reconciler.manifests.parse_file import name_of_file, parse
from reconciler.planning.fingerprint import Json
from reconciler.planning.origins.scopes import FILES, Documents
from reconciler.planning.subject import Subject
from reconciler.settings.git import GitOrigin

MOST_READ = 64 * 1024**2
_LONGEST_LINK = 1024
_FILE_MODES = (b"100644", b"100755")
_LINK = b"120000"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """What one document asks for, and the places in the repository that it names, by its fields."""

    subject: Subject
    fields: Mapping[str, Json]
    names: tuple[tuple[Path, str], ...]


@dataclass(slots=True)
class _Listed:
    """The files of a commit by path: the ids of all, and those of manifests and of links."""

    ids: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


class CommitDocuments:
    """The documents of the commits of one origin; it keeps what it has read of manifests."""

    def __init__(self, origin: GitOrigin, objects: Objects, contents: Contents) -> None:
        self._origin = origin
        self._objects = objects
        self._contents = contents
        self._known: dict[tuple[str, str], tuple[_Document, ...]] = {}
        self._links: dict[str, bytes] = {}
        self._fleets: set[str] = set()
        self._left = MOST_READ

    async def of(self, commit: str) -> Documents:
        """Return what the manifests of a commit ask for, by app or service. Raises NotAccepted, DamagedStore, OSError.

        Each has, as the field `files`, what is at the places that it names. The file of a fleet is there by its name.
        """
        listed = await asyncio.to_thread(self._listed, await self._objects.listing(commit))
        await self._read(listed)
        ids = {**await self._objects.directories(commit), **listed.ids}
        reached = ReachedFiles(ids, {path: self._links[each] for path, each in listed.links.items()})
        parts = [each for path in sorted(listed.manifests) for each in self._known[path, listed.manifests[path]]]
        found = await asyncio.to_thread(_together, parts, reached)
        fleet = listed.ids.get(FLEET)
        return found if fleet is None or not self._is_fleet(fleet) else {**found, FLEET: fleet}

    async def _read(self, listed: _Listed) -> None:
        """Read the manifests and links of a commit that none before had."""
        manifests = {path: each for path, each in listed.manifests.items() if (path, each) not in self._known}
        links = {path: each for path, each in listed.links.items() if each not in self._links}
        self._left -= sum(listed.sizes[path] for path in (*manifests, *links))
        if self._left < 0:
            limit = MOST_READ // 1024**2
            raise NotAccepted("refused", f"the manifests of its new commits are together larger than {limit} MiB")
        if not manifests and not links:
            return
        by_id = await self._contents.read(dict.fromkeys((*manifests.values(), *links.values())), "blob")
        self._links |= {each: by_id[each] for each in links.values()}
        for path, each in manifests.items():
            if path == FLEET and is_fleet(by_id[each]):
                self._fleets.add(each)
            self._known[path, each] = await asyncio.to_thread(_documents_of, path, by_id[each])

    def _is_fleet(self, file: str) -> bool:
        """Return whether the file at the top that has the name of one is no manifest."""
        return "" not in self._origin.paths or file in self._fleets or (FLEET, file) not in self._known

    def _listed(self, listing: bytes) -> _Listed:
        found = _Listed()
        for record in listing.split(b"\0"):
            head, _, name = record.partition(b"\t")
            fields = head.split()
            if len(fields) != 4:
                continue
            path = name.decode(errors="surrogateescape")
            found.ids[path] = fields[2].decode()
            if not fields[3].isdigit():  # a submodule, or a file that is too large to be fetched
                continue
            size = int(fields[3][:20])
            if fields[0] == _LINK and size <= _LONGEST_LINK:
                found.links[path], found.sizes[path] = found.ids[path], size
            elif fields[0] in _FILE_MODES and self._is_manifest(path, size):
                found.manifests[path], found.sizes[path] = found.ids[path], size
        return found

    def _is_manifest(self, path: str, size: int) -> bool:
        directory, name = posixpath.split(path)
        return directory in self._origin.paths and is_manifest(name) and size <= LARGEST_MANIFEST


def _documents_of(path: str, content: bytes) -> tuple[_Document, ...]:
    """Return the documents of a manifest. In a file of several, the mistakes of one are those of all."""
    trees = [tree for _, tree in documents({path: content})] if path != FLEET or not is_fleet(content) else []
    shared = {"valid": not parse(path, content, HostDefaults()).problems} if len(trees) > 1 else {}
    return tuple(
        _Document(
            subject=Subject("service" if tree.written_at("kind") == "service" else "app", _name(path, tree)),
            fields={**_fields(tree), **shared},
            names=tuple(named_files(path, tree)),
        )
        for tree in trees
    )


def _name(path: str, tree: Node) -> str:
    return tree.written_at("name") if "name" in tree.keys else name_of_file(path)


def _fields(tree: Node) -> dict[str, Json]:
    return {str(name): _typed(part) for name, part in tree.parts.items()}


def _typed(node: Node) -> Json:
    """Return a value with its scalars as text behind their type: 3.10 is not 3.1, and the text "true" is not true."""
    if isinstance(node.value, dict):
        return _fields(node)
    if isinstance(node.value, list):
        return [_typed(part) for part in node.parts.values()]
    return f"{type(node.value).__name__} {node.written}"


def _together(parts: Iterable[_Document], reached: ReachedFiles) -> Documents:
    """Return documents by what they describe; several of one name are one list."""
    found: defaultdict[Subject, list[Json]] = defaultdict(list)
    for each in parts:
        named = ((path, reached.version(place)) for path, place in each.names)
        found[each.subject].append({**each.fields, FILES: _nested(named)})
    return {subject: each[0] if len(each) == 1 else {"documents": each} for subject, each in found.items()}


def _nested(named: Iterable[tuple[Path, str]]) -> Json:
    """Return values at paths such as `env`, `KEY`, `file` as the mappings that these stand for."""
    top: dict[str, Json] = {}
    for path, version in named:
        *above, last = map(str, path)
        inner = top
        for step in above:
            inner = inner.setdefault(step, {})  # type: ignore[assignment]  # all above a path are mappings
        inner[last] = version
    return top
