"""Try the manifests of a commit against what is in force on this host, and its origin's fence. Changes nothing."""

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from reconciler.documents.problem import Problem
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.catalog import Catalog, Rules, review
from reconciler.manifests.git.candidate import Trial
from reconciler.manifests.git.contents import documents
from reconciler.manifests.git.fence import Surroundings, beyond_fence, declared_services
from reconciler.manifests.git.may_settings import may_of
from reconciler.manifests.origin import Listing, Look, Unreadable
from reconciler.planning.fingerprint import fingerprint
from reconciler.planning.origins.may import May
from reconciler.settings.git import GitOrigin
from reconciler.version import VERSION


class HostInForce:
    """What is in force on this host: `catalog` returns it, `servers` are the host's servers by type.

    `on_record` returns the names of the services that this host has the data of, in force or not.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        rules: Rules,
        servers: Mapping[str, Sequence[str]],
        on_record: Callable[[], Collection[str]],
    ) -> None:
        self._catalog = catalog
        self._on_record = on_record
        self._rules = rules
        self._servers = servers
        self._judged: dict[str, _Judged] = {}
        self._taken: dict[str, frozenset[tuple[str, int]]] = {}

    def surroundings(self, origin: GitOrigin) -> str:
        """Return what identifies all that a trial depends on beside the commit. Blocks."""
        before = self._catalog()
        around = self._around(origin, before, frozenset())
        taken = [each for each in sorted(self._taken.get(origin.name, ())) if not self._rules.is_free(*each)]
        return fingerprint(
            [
                VERSION, repr(origin), repr(self._rules.ports), sorted(self._servers.items()),
                sorted(around.apps.items()), sorted(around.services.items()), sorted(around.ports.items()),
                sorted(around.retained), *([taken] if taken else ()),
            ]
        )  # fmt: skip

    def trial(self, origin: GitOrigin, listing: Listing) -> Trial:
        """Return what would be in force with these manifests of an origin, beside those of all others. Blocks."""
        before = self._catalog()
        others = before.identities.keys() | {entry.origin for entry in before.files.values()}
        looks: list[Look] = [listing]
        looks += [Unreadable(origin=each, reason="") for each in sorted(others - {origin.name})]
        taken: set[tuple[str, int]] = set()
        after = review(before, looks, replace(self._rules, is_free=self._noting(taken)), time.monotonic())
        problems = [p for entry in after.files.values() if entry.origin == origin.name for p in entry.problems]
        # Ports that another program has are free one day, and no commit is needed then.
        self._taken[origin.name] = frozenset(taken) if problems else frozenset()
        invalid = frozenset(file for file in listing.files if after.files[file].parsed.problems)
        return Trial(
            problems=list(dict.fromkeys(problems)),
            beyond_fence=self._beyond_fence(origin, listing, before, invalid),
            before=_names(before, origin.name),
            after=_names(after, origin.name),
            invalid=invalid,
        )

    def _noting(self, taken: set[tuple[str, int]]) -> Callable[[str, int], bool]:
        """Return what tells whether a port is free, and notes those that are not."""

        def is_free(host: str, port: int) -> bool:
            found = self._rules.is_free(host, port)
            if not found:
                taken.add((host, port))
            return found

        return is_free

    def _beyond_fence(
        self, origin: GitOrigin, listing: Listing, before: Catalog, invalid: Collection[str]
    ) -> list[Problem]:
        prefix = f"{origin.name}/"
        valid = {file: content for file, content in listing.files.items() if file not in invalid}
        inside = {file.removeprefix(prefix): content for file, content in valid.items()}
        before_this = self._judged.get(origin.name)
        known = {} if before_this is None else before_this.documents
        seen = {path: _seen(path, content, known.get(path)) for path, content in inside.items()}
        around = self._around(origin, before, frozenset().union(*(each.declared for each in seen.values())))
        may = may_of(origin.may)
        is_as_before = before_this is not None and (before_this.may, before_this.around) == (may, around)
        problems: list[Problem] = []
        for path, content in inside.items():
            if is_as_before and seen[path].is_inside:
                continue  # by all that it was judged by before
            found = [
                problem
                for file, tree in documents({path: content})
                for problem in beyond_fence(file, tree, may, around)
            ]
            problems += [replace(problem, file=f"{prefix}{problem.file}") for problem in found]
            seen[path] = replace(seen[path], is_inside=not found)
        self._judged[origin.name] = _Judged(may=may, around=around, documents=seen)
        return problems

    def _around(self, origin: GitOrigin, before: Catalog, declared: frozenset[str]) -> Surroundings:
        others = [entry for entry in before.files.values() if entry.origin != origin.name]
        documents_of_others = [document for entry in others for document in entry.in_force]
        return Surroundings(
            port_range=self._rules.ports,
            apps={document.name: document.manifest for document in documents_of_others},
            services={each.name: each.manifest for entry in others for each in entry.services_in_force},
            ports={each.port: f"'{each.name}'" for each in documents_of_others if each.port is not None},
            domains={
                name: document.manifest
                for document in documents_of_others
                if document.unleased.routing is not None
                for name in document.unleased.routing.names
            },
            retained=frozenset(self._on_record()) - before.services.keys(),
            declared=declared,
            servers=self._servers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A manifest that was judged: its digest, the services that it declares, and whether it was inside the fence."""

    digest: bytes
    declared: frozenset[str]
    is_inside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """The manifests of an origin as they were judged last, and by what."""

    may: May
    around: Surroundings
    documents: Mapping[str, _Seen]


def _seen(path: str, content: bytes | str, before: _Seen | None) -> _Seen:
    """Return a manifest as it was judged before, or as one that was not."""
    digest = hashlib.sha256(content if isinstance(content, bytes) else content.encode()).digest()
    if before is not None and before.digest == digest:
        return before
    return _Seen(digest=digest, declared=declared_services(tree for _, tree in documents({path: content})))


def _names(catalog: Catalog, origin: str) -> dict[str, str]:
    return {name: file for file, entry in catalog.files.items() if entry.origin == origin for name in entry.all_names}
