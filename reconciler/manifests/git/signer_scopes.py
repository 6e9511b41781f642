"""Hold each signer to what the settings let them change: by what the manifests of commits ask for, not by their files.

With `signed: every`, each new commit is held to its own signer's scope, by its difference from each of its parents;
otherwise the signer of the newest commit, or of its tag, answers for all that is new.
"""

import asyncio
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from reconciler.documents.text import LARGEST_MANIFEST
from reconciler.documents.tree import Node
from reconciler.manifests.directory_files import is_manifest
from reconciler.manifests.git.candidate import NotAccepted, Unjudged
from reconciler.manifests.git.commits import parents_of
from reconciler.manifests.git.contents import Contents, documents
from reconciler.manifests.git.fence import named_files
from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.tree_limits import resolved
from reconciler.manifests.parse_file import name_of_file
from reconciler.planning.fingerprint import Json
from reconciler.planning.origins.scopes import EVERYTHING, FILES, Documents, Scope, beyond_scope, scope_of
from reconciler.planning.subject import Subject
from reconciler.planning.wording import listed
from reconciler.settings.git import GitOrigin

_FILE_MODES = (b"100644", b"100755")
_LINK_MODE = b"120000"
# Of the size of a link that is read: a path is shorter, and what is longer refuses the commit.
_DIGITS = 5


class SignerScopes:
    """Judges the signers of one origin's commits by the scopes in the settings of its repository."""

    def __init__(self, origin: GitOrigin, objects: Objects, contents: Contents) -> None:
        self._origin = origin
        self._scopes = origin.repository.scopes
        self._objects = objects
        self._contents = contents

    async def judge(self, unjudged: Unjudged, signers: Mapping[str, str]) -> None:
        """Judge the new commits, given who signed which. Raises NotAccepted, DamagedStore, OSError.

        A commit that an operator confirmed, or that trust begins with, is not judged: what it changes is not known.
        """
        since = unjudged.accepted or self._origin.repository.first
        if not self._scopes or unjudged.is_taken or unjudged.commit.id == since:
            return
        known: dict[str, Documents] = {}
        for commit, signer in signers.items():
            scope = self._scope_of(signer)
            if scope is None:
                raise NotAccepted("refused", f"{_signed(commit, signer)}, to whom 'scopes' gives none")
            if scope == EVERYTHING:
                continue
            every = self._origin.repository.signed == "every"
            parents = parents_of(unjudged.raw[commit]) if every else [since] if since is not None else []
            for each in (commit, *parents):
                if each not in known:
                    known[each] = await self._documents(each)
            excess = beyond_scope(scope, [known[parent] for parent in parents], known[commit])
            if excess:
                done = listed([str(each) for each in excess])
                raise NotAccepted("refused", f"{_signed(commit, signer)}, whose scope does not allow it: it {done}")

    def _scope_of(self, signer: str) -> Scope | None:
        """Return the scope of a signer: that of the very name, otherwise of the first pattern that matches it."""
        given = self._scopes.get(signer)
        if given is None:
            given = next((scope for pattern, scope in self._scopes.items() if fnmatchcase(signer, pattern)), None)
        return None if given is None else scope_of(given)

    async def _documents(self, commit: str) -> Documents:
        """Return what the manifests of a commit ask for, by app or service."""
        files, manifests, links = {}, {}, {}
        for record in (await self._objects.listing(commit)).split(b"\0"):
            head, _, name = record.partition(b"\t")
            fields = head.split()
            path = name.decode(errors="surrogateescape")
            if len(fields) == 4:
                files[path] = fields[2].decode()
            if len(fields) == 4 and fields[0] in _FILE_MODES and self._is_manifest(path, fields[3]):
                manifests[path] = fields[2].decode()
            if len(fields) == 4 and fields[0] == _LINK_MODE and fields[3].isdigit() and len(fields[3]) < _DIGITS:
                links[path] = fields[2].decode()
        read = dict.fromkeys((*manifests.values(), *links.values()))
        by_id = await self._contents.read(read, "blob") if read else {}
        ids = {**await self._objects.directories(commit), **files}
        contents = {path: by_id[each] for path, each in manifests.items()}
        targets = {path: by_id[each].decode(errors="surrogateescape") for path, each in links.items()}
        return await asyncio.to_thread(_described, contents, ids, targets)

    def _is_manifest(self, path: str, size: bytes) -> bool:
        directory, name = posixpath.split(path)
        is_small = size.isdigit() and int(size[:20]) <= LARGEST_MANIFEST
        return directory in self._origin.paths and is_manifest(name) and is_small


def _signed(commit: str, signer: str) -> str:
    return f"commit {commit[:7]} is signed by {signer}"


def _described(contents: Mapping[str, bytes], ids: Mapping[str, str], links: Mapping[str, str]) -> Documents:
    """Return the documents of manifests, each with the ids of what it names; several of one name are one list."""
    below: defaultdict[str, list[str]] = defaultdict(list)
    for link in links:
        for above in _ancestors(link):
            below[above].append(link)
    found: defaultdict[Subject, list[Json]] = defaultdict(list)
    for path, tree in documents(dict(sorted(contents.items()))):
        kind = "service" if tree.written_at("kind") == "service" else "app"
        name = tree.written_at("name") if "name" in tree.keys else name_of_file(path)
        named = {
            place: " ".join(ids.get(each, "") for each in _reached(leads_to, links, below))
            for place, leads_to in named_files(path, tree).items()
        }
        found[Subject(kind, name)].append({**_fields(tree), FILES: _nested(named)})  # type: ignore[arg-type]
    return {subject: each[0] if len(each) == 1 else {"documents": each} for subject, each in found.items()}


def _reached(place: str, links: Mapping[str, str], below: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a file or directory, and all that the links in it lead to: its own id does not change with that."""
    found, todo = {place: None}, [place]
    while todo:
        each = todo.pop()
        for link in below.get(each, ()):
            target = resolved(posixpath.dirname(link), links[link])
            if target is not None and target not in found:
                found[target] = None
                todo.append(target)
    return list(found)


def _ancestors(path: str) -> Iterator[str]:
    """Yield a path, and the directories above it, the top as ""."""
    yield path
    while path:
        path = posixpath.dirname(path)
        yield path


def _fields(tree: Node) -> dict[str, Json]:
    return {str(name): _typed(part) for name, part in tree.parts.items()}


def _typed(node: Node) -> Json:
    """Return a value in which 3.10 is not 3.1, and the text "true" is not true."""
    if isinstance(node.value, dict):
        return {str(name): _typed(part) for name, part in node.parts.items()}
    if isinstance(node.value, list):
        return [_typed(part) for part in node.parts.values()]
    return [type(node.value).__name__, node.written]


def _nested(named: Mapping[str, str]) -> Json:
    """Return the ids at places such as `env.KEY.file` as the mappings that these stand for."""
    top: dict[str, Json] = {}
    for place, object_id in named.items():
        *above, last = place.split(".")
        inner = top
        for step in above:
            inner = inner.setdefault(step, {})  # type: ignore[assignment]  # all above a place are mappings
        inner[last] = object_id
    return top
