"""Merge what the origins of manifests hold now with the catalog in force. Pure.

No desired state is not an empty desired state: what cannot be read or does not parse changes nothing, and what vanishes
in a suspicious way is believed removed only when it is still absent at a second look.
"""

import math
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TypeAlias, TypeVar

from reconciler.documents.problem import Problem, with_free_name
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import as_internal
from reconciler.manifests.allocation import Allocation, Ports, Proposal, apps_of
from reconciler.manifests.app_document import AppDocument, HostDefaults
from reconciler.manifests.manifest_file import ManifestFile
from reconciler.manifests.origin import Identity, Listing, Look, Unreadable
from reconciler.manifests.parse_file import Parsed, name_of_file, parse
from reconciler.manifests.precedence import allocated
from reconciler.manifests.service_document import ServiceDocument
from reconciler.manifests.source_versions import versioned
from reconciler.manifests.sources_in_git import SourcesInForce, resolved
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service
from reconciler.planning.wording import counted, listed

Desired = TypeVar("Desired", App, Service)
Document = TypeVar("Document", AppDocument, ServiceDocument)
# What an origin's name leads to, by that name.
Identities: TypeAlias = Mapping[str, Identity]

_FEW_APPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this host decides about manifests. `prune_after_s` is how long a suspicious disappearance must last.

    `sources` are the sources in repositories that are in force.
    """

    host: HostDefaults
    ports: range
    is_free: Callable[[str, int], bool]
    prune_after_s: float
    sources: SourcesInForce = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The desired state of this host, and where it comes from.

    `pending_removals` says until when (monotonic) a file's loss of apps is not believed. `is_reviewed` says that it is
    what a review came to, with these leases.
    """

    apps: Mapping[str, App] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    files: Mapping[str, ManifestFile] = field(default_factory=dict)
    leases: Mapping[str, int] = field(default_factory=dict)
    notice: str | None = None
    recheck_at: float | None = None
    identities: Identities = field(default_factory=dict)
    pending_removals: Mapping[str, float] = field(default_factory=dict)
    is_reviewed: bool = field(default=False, compare=False)

    @classmethod
    def restored(
        cls, last_good: Mapping[str, bytes], leases: Mapping[str, int], identities: Identities, host: HostDefaults
    ) -> "Catalog":
        """Return the catalog as it was before a restart of the daemon, from what was stored of it."""
        files = {}
        for file, content in sorted(last_good.items()):
            parsed = _parsed(file, content, host)
            files[file] = ManifestFile(
                file=file,
                origin=origin_of(file, identities),
                problems=parsed.problems,
                in_force=parsed.apps,
                services_in_force=parsed.services,
                last_good=content,
                content=content,
                parsed=parsed,
            )
        proposals = {file: _proposal(entry, is_kept=True) for file, entry in files.items()}
        allocation = allocated(proposals, leases, Ports(range=range(0), is_free=lambda _, __: False))
        return cls(
            apps=allocation.apps, services=allocation.services, files=files, leases=leases, identities=identities
        )

    @property
    def is_at_rest(self) -> bool:
        """True when the same looks at the same origins would come to the same at any time."""
        unproblematic = not any(entry.problems for entry in self.files.values())
        return self.notice is None and not self.pending_removals and unproblematic

    def without_lease(self, name: str) -> "Catalog":
        """Return the catalog with the port of a removed app free for others. An app in force keeps its lease."""
        if name in self.apps:
            return self
        return replace(self, leases={holder: port for holder, port in self.leases.items() if holder != name})


def origin_of(file: str, origins: Iterable[str]) -> str:
    """Return the origin whose file this is; a file of none of these is of the directory it is in."""
    found = [origin for origin in origins if file.startswith(f"{origin}/")]
    return max(found, key=len, default=posixpath.dirname(file))


def review(previous: Catalog, looks: Sequence[Look], rules: Rules, now: float, *, confirmed: bool = False) -> Catalog:
    """Return what is in force after a look at every origin; `now` and `recheck_at` are on one monotonic clock.

    `confirmed` says that an operator takes every origin as it is, also one that something else was put in place of.
    """
    looks = looks if confirmed else [unless_replaced(previous, look) for look in looks]
    listings = [look for look in looks if isinstance(look, Listing)]
    notices = [
        f"{look.reason}; nothing is stopped until {look.until}" for look in looks if isinstance(look, Unreadable)
    ]
    if not listings:
        # Time in which nothing can be read is no proof that anything was removed.
        pending = dict.fromkeys(previous.pending_removals, math.inf)
        apps = {name: _same(app, resolved(app, rules.sources)) for name, app in previous.apps.items()}
        return replace(
            previous, apps=apps, notice="; ".join(notices) or None, recheck_at=None, pending_removals=pending
        )
    read = {
        file: _read(previous.files.get(file), listing.origin, file, content, rules.host)
        for listing in listings
        for file, content in listing.files.items()
    }
    unseen = _unseen(previous, read, looks)
    identities = _identities(previous, looks)
    allocation, missing, pending, entries = _Review(
        previous=previous, read=read, unseen=unseen, identities=identities, rules=rules, now=now
    ).outcome()
    versions = {listing.origin: listing.versions for listing in listings if listing.versions}
    commits = {name: identity for name, identity in identities.items() if isinstance(identity, str)}
    if pending:
        notices.append(_notice(missing & _names(allocation), allocation, rules))
    return Catalog(
        apps={
            name: _same(
                previous.apps.get(name),
                resolved(versioned(app, previous.apps.get(name), versions, commits), rules.sources),
            )
            for name, app in allocation.apps.items()
        },
        services={name: _same(previous.services.get(name), service) for name, service in allocation.services.items()},
        files=dict(sorted({**entries, **unseen}.items())),
        leases=allocation.leases,
        notice="; ".join(notices) or None,
        recheck_at=min(pending.values(), default=None),
        identities=identities,
        pending_removals={**pending, **dict.fromkeys(previous.pending_removals.keys() & unseen.keys(), math.inf)},
        is_reviewed=True,
    )


def unless_replaced(previous: Catalog, look: Look) -> Look:
    """Return a look, as Unreadable if another directory is there, in which is nothing that was in force.

    That is how a file system looks that is not mounted, and no proof that anything was removed: `prune_after` is for
    files that are gone from the same directory.
    """
    if isinstance(look, Unreadable):
        return look
    before = previous.identities.get(look.origin)
    if isinstance(before, str) or isinstance(look.identity, str):
        return look
    in_force = [file for file, entry in previous.files.items() if entry.origin == look.origin and entry.all_names]
    if before is None or before == look.identity or not in_force or any(file in look.files for file in in_force):
        return look
    what = "another file system" if before[0] != look.identity[0] else "another directory"
    holds, lost = "others" if look.files else "nothing", counted(len(in_force), "manifest")
    return Unreadable(
        origin=look.origin,
        reason=f"{look.origin} is {what} than before, and holds {holds} in place of {lost}",
        until="the manifests are back, or 'reconciler prune' confirms that they are gone",
    )


def _read(
    before: ManifestFile | None, origin: str, file: str, content: bytes | str, host: HostDefaults
) -> ManifestFile:
    """Return the file with its newest content, which is not in force yet."""
    if before is not None and before.content == content:
        is_same = before.origin == origin and before.problems == before.parsed.problems
        return before if is_same else replace(before, origin=origin, problems=before.parsed.problems)
    if isinstance(content, str):
        parsed = Parsed(problems=(Problem(file=file, line=1, column=1, path="", message=content),))
    else:
        parsed = _parsed(file, content, host)
    before = before or ManifestFile(file=file, origin=origin)
    return replace(before, origin=origin, content=content, parsed=parsed, problems=parsed.problems)


def _parsed(file: str, content: bytes, host: HostDefaults) -> Parsed:
    """Parse a file; an internal error in that is a problem of this file, and of no other."""
    try:
        return parse(file, content, host)
    except Exception as error:  # noqa: BLE001  whatever it is, the other files take effect
        return Parsed(problems=(Problem(file=file, line=1, column=1, path="", message=as_internal(error)),))


def _unseen(previous: Catalog, read: Mapping[str, ManifestFile], looks: Sequence[Look]) -> dict[str, ManifestFile]:
    """Return the files of origins that cannot be read.

    A file of an origin that is there no more is one of these as long as any origin cannot be read: it may be there now.
    """
    blind = {look.origin for look in looks if isinstance(look, Unreadable)}
    readable = {look.origin for look in looks} - blind
    return {
        file: entry
        for file, entry in previous.files.items()
        if blind and file not in read and entry.origin not in readable
    }


def _identities(previous: Catalog, looks: Sequence[Look]) -> Identities:
    """Return what every origin led to when it was last read; of origins that are there no more, nothing is known."""
    found = {look.origin: look.identity for look in looks if isinstance(look, Listing)}
    if len(found) == len(looks):
        return found
    return {**previous.identities, **found}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Review:
    """One review: what was in force, the files that were read and those that could not be, and when that was."""

    previous: Catalog
    read: Mapping[str, ManifestFile]
    unseen: Mapping[str, ManifestFile]
    identities: Identities
    rules: Rules
    now: float

    def outcome(self) -> tuple[Allocation, frozenset[str], dict[str, float], Mapping[str, ManifestFile]]:
        """Return the allocation, what would be removed, which files keep theirs until when, and the files read."""
        if self._is_as_before():
            documents = [document for entry in self.previous.files.values() for document in entry.in_force]
            apps, leases = apps_of(documents, self.previous.leases), self.previous.leases
            return Allocation(apps=apps, leases=leases, services=self.previous.services), frozenset(), {}, self.read
        allocation, missing, pending = self.allocation()
        kept = {file: self.previous.files[file] for file in pending if file not in self.read}
        entries = {
            file: _entry(entry, allocation, is_pending=file in pending) for file, entry in {**self.read, **kept}.items()
        }
        return allocation, missing, pending, _with_free_names(entries, allocation)

    def _is_as_before(self) -> bool:
        """Return whether every file is as it was, and in force: allocating the same again comes to the same."""
        before = self.previous
        if not before.is_reviewed or before.pending_removals or len(self.read) + len(self.unseen) != len(before.files):
            return False
        return all(
            (self.read.get(file) or self.unseen.get(file)) is entry and entry.is_in_force
            for file, entry in before.files.items()
        )

    def allocation(self) -> tuple[Allocation, frozenset[str], dict[str, float]]:
        """Return the allocation, the names that would be removed, and the files that keep theirs, until when.

        A file that keeps its names may refuse another, so that more would be removed: repeat until nothing is added.
        """
        file_of = {name: file for file, entry in self.previous.files.items() for name in entry.all_names}
        ports = Ports(range=self.rules.ports, is_free=self.rules.is_free)
        pending: dict[str, float] = {}
        missing: frozenset[str] = frozenset()
        while True:
            allocation = allocated(self._proposals(pending), self.previous.leases, ports)
            missing |= _names(self.previous) - _names(allocation)
            more = self._pending({name: file_of[name] for name in missing if name in file_of})
            if more.keys() <= pending.keys():
                return allocation, missing, pending
            pending |= more

    def _proposals(self, pending: Mapping[str, float]) -> dict[str, Proposal]:
        kept = {file: self.previous.files[file] for file in pending if file not in self.read}
        return {
            file: _proposal(entry, is_kept=bool(entry.parsed.problems) or file in pending or file in self.unseen)
            for file, entry in sorted({**self.read, **self.unseen, **kept}.items())
        }

    def _pending(self, lost: Mapping[str, str]) -> dict[str, float]:
        """Return, of the files that lost apps or services, those for which that is not believed yet."""
        lost_of: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for name, file in lost.items():
            lost_of[self.previous.files[file].origin][name] = file
        return {file: until for origin, names in lost_of.items() for file, until in self._of_origin(origin, names)}

    def _of_origin(self, origin: str, lost: Mapping[str, str]) -> Iterator[tuple[str, float]]:
        """Yield the files of one origin whose loss is not believed yet, with the time until then.

        That is so when the origin was replaced, and when it loses most of its names at once.
        """
        identity = self.previous.identities.get(origin)
        if isinstance(self.identities.get(origin), str):
            return  # what a commit removes was judged before
        moved = identity is not None and self.identities.get(origin) != identity
        size = sum(len(entry.all_names) for entry in self.previous.files.values() if entry.origin == origin)
        files = set(lost.values())
        waiting = {file: until for file, until in self.previous.pending_removals.items() if file in files}
        newly = [name for name, file in lost.items() if file not in waiting]
        at_once = size > _FEW_APPS and 2 * len(newly) > size
        unsettled = any(until > self.now for until in waiting.values())
        for file in files:
            until = waiting.get(file, math.inf if at_once or unsettled else self.now)
            if moved or until == math.inf:
                yield file, self.now + self.rules.prune_after_s
            elif until > self.now:
                yield file, until


def _proposal(entry: ManifestFile, *, is_kept: bool) -> Proposal:
    """Return the proposal of a file's newest content, or to leave it as it is."""
    return Proposal(
        proposed=None if is_kept else entry.parsed.apps,
        in_force=entry.in_force,
        proposed_services=() if is_kept else entry.parsed.services,
        services_in_force=entry.services_in_force,
    )


def _entry(entry: ManifestFile, allocation: Allocation, *, is_pending: bool) -> ManifestFile:
    refused, lost = allocation.refused.get(entry.file, ()), allocation.lost.get(entry.file, ())
    if refused or is_pending or entry.parsed.problems or isinstance(entry.content, str):
        return replace(entry, problems=(*entry.parsed.problems, *refused, *lost))
    apps = _of(entry.file, entry.parsed.apps, allocation.apps)
    services = _of(entry.file, entry.parsed.services, allocation.services)
    before = (entry.problems, entry.in_force, entry.services_in_force, entry.last_good)
    if before == (lost, apps, services, entry.content):
        return entry
    return replace(entry, problems=lost, in_force=apps, services_in_force=services, last_good=entry.content)


def _of(file: str, documents: tuple[Document, ...], allocated_to: Mapping[str, App | Service]) -> tuple[Document, ...]:
    """Return the documents of a file that are in force, and not those that lost their names to others."""
    return tuple(each for each in documents if each.name in allocated_to and allocated_to[each.name].manifest == file)


def _with_free_names(entries: dict[str, ManifestFile], allocation: Allocation) -> dict[str, ManifestFile]:
    """Return the files with problems that propose no name which another file has, or is to have once it is fixed."""
    proposing = sorted(file for file, entry in entries.items() if any(each.proposed for each in entry.problems))
    if not proposing:
        return entries
    stems = {name_of_file(file) for file in entries}
    taken = {*allocation.apps, *allocation.services, *stems}
    for file in proposing:
        problems = tuple(with_free_name(problem, taken) for problem in entries[file].problems)
        entries[file] = replace(entries[file], problems=problems)
        taken |= {problem.proposed for problem in problems}
    return entries


def _same(before: Desired | None, after: Desired) -> Desired:
    """Return the very object from before when nothing changed."""
    return before if before is not None and (before is after or before == after) else after


def _names(desired: Catalog | Allocation) -> frozenset[str]:
    """Return all that is desired by name, services told apart from apps."""
    return frozenset((*desired.apps, *(f"service {name}" for name in desired.services)))


def _notice(kept: frozenset[str], allocation: Allocation, rules: Rules) -> str:
    names, in_force = sorted(kept), len(_names(allocation))
    what = "apps and services" if allocation.services else "apps"
    return (
        f"{len(names)} of {in_force} {what} vanished from the manifests at once ({listed(names)}); "
        f"nothing is stopped until they have been gone for {rules.prune_after_s:g} s"
    )
