"""What the directory shows now, and what was in force, in; what is in force from now on, and why not more, out. Pure.

No desired state is not an empty desired state: what cannot be read or does not parse changes nothing, and what vanishes
in a suspicious way is believed gone only when it is still gone at a second look.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from reconciler.documents.problem import Problem
from reconciler.manifests.allocation import Allocation, Ports, Proposal, allocate
from reconciler.manifests.app_document import AppDocument, HostDefaults
from reconciler.manifests.parse import Parsed, parse
from reconciler.manifests.service_document import ServiceDocument
from reconciler.planning.desired import App, Service

Asked = TypeVar("Asked", App, Service)

_FEW_APPS = 4
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryContents:
    """What a look at the directory found: each file's bytes, or why they cannot be had, by absolute path."""

    files: Mapping[str, bytes | str] = field(repr=False)
    identity: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryUnreadable:
    """A look that found nothing out, and why ("cannot read /x: …")."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this host decides about manifests. `prune_after_s` is how long a suspicious disappearance must last."""

    host: HostDefaults
    ports: range
    is_free: Callable[[str, int], bool]
    prune_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """One file: what is wrong with its newest content, and what is in force from its last good one."""

    file: str
    problems: tuple[Problem, ...] = ()
    in_force: tuple[AppDocument, ...] = field(default=(), repr=False)
    services_in_force: tuple[ServiceDocument, ...] = field(default=(), repr=False)
    last_good: bytes | None = field(default=None, repr=False)
    seen: bytes | str = field(default="", repr=False)
    parsed: Parsed = field(default_factory=Parsed, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The apps in force from this file."""
        return tuple(document.name for document in self.in_force)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The same and the services, told apart."""
        return (*self.names, *(f"service {document.name}" for document in self.services_in_force))


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All that is asked of this host. `held` says until when (monotonic) a file's loss of apps is not believed."""

    apps: Mapping[str, App] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    files: Mapping[str, ManifestFile] = field(default_factory=dict)
    leases: Mapping[str, int] = field(default_factory=dict)
    notice: str | None = None
    recheck_at: float | None = None
    identity: tuple[int, int] | None = None
    held: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def restored(
        cls,
        last_good: Mapping[str, bytes],
        leases: Mapping[str, int],
        identity: tuple[int, int] | None,
        host: HostDefaults,
    ) -> "Catalog":
        """The catalog as it was before a restart of the daemon, from what was kept of it."""
        files = {}
        for file, content in sorted(last_good.items()):
            parsed = parse(file, content, host)
            files[file] = ManifestFile(
                file=file,
                problems=parsed.problems,
                in_force=parsed.apps,
                services_in_force=parsed.services,
                last_good=content,
                seen=content,
                parsed=parsed,
            )
        candidates = {
            file: Proposal(proposed=None, in_force=entry.in_force, services_in_force=entry.services_in_force)
            for file, entry in files.items()
        }
        settled = allocate(candidates, leases, Ports(range=range(0), is_free=lambda _, __: False))
        return cls(apps=settled.apps, services=settled.services, files=files, leases=leases, identity=identity)

    @property
    def is_at_rest(self) -> bool:
        """True when the same look at the same directory would come to the same at any time."""
        return self.notice is None and not self.held and not any(entry.problems for entry in self.files.values())

    def without_lease(self, name: str) -> "Catalog":
        """The same, with the port of a removed app free for others. An app in force keeps its lease."""
        if name in self.apps:
            return self
        return replace(self, leases={holder: port for holder, port in self.leases.items() if holder != name})


def review(previous: Catalog, look: DirectoryContents | DirectoryUnreadable, rules: Rules, now: float) -> Catalog:
    """What is in force after this look; `now` and `look_again_at` are on one monotonic clock."""
    if isinstance(look, DirectoryUnreadable):
        notice = f"{look.reason}; nothing is stopped until it can be read"
        # Time spent blind is no proof that anything is gone.
        held = dict.fromkeys(previous.held, math.inf)
        return replace(previous, notice=notice, recheck_at=None, held=held)
    read = {file: _read(previous.files.get(file), file, seen, rules.host) for file, seen in look.files.items()}
    settled, missing, held = _settle(previous, read, look.identity, rules, now)
    kept = {file: previous.files[file] for file in held if file not in read}
    return Catalog(
        apps={name: _same(previous.apps.get(name), app) for name, app in settled.apps.items()},
        services={name: _same(previous.services.get(name), asked) for name, asked in settled.services.items()},
        files={file: _entry(entry, settled, is_held=file in held) for file, entry in sorted({**read, **kept}.items())},
        leases=settled.leases,
        notice=_notice(missing & _names(settled), settled, rules) if held else None,
        recheck_at=min(held.values(), default=None),
        identity=look.identity,
        held=held,
    )


def _read(before: ManifestFile | None, file: str, seen: bytes | str, host: HostDefaults) -> ManifestFile:
    """The file with its newest content, which is not in force yet."""
    if before is not None and before.seen == seen:
        return replace(before, problems=before.parsed.problems)
    if isinstance(seen, str):
        parsed = Parsed(problems=(Problem(file=file, line=1, column=1, path="", message=seen),))
    else:
        parsed = parse(file, seen, host)
    return replace(before or ManifestFile(file=file), seen=seen, parsed=parsed, problems=parsed.problems)


def _settle(
    previous: Catalog, read: Mapping[str, ManifestFile], identity: tuple[int, int], rules: Rules, now: float
) -> tuple[Allocation, frozenset[str], dict[str, float]]:
    """Who gets what, the names that would be gone, and the files that keep theirs for now, with the time until then."""
    file_of = {name: file for file, entry in previous.files.items() for name in entry.all_names}
    ports = Ports(range=rules.ports, is_free=rules.is_free)
    held: dict[str, float] = {}
    missing: frozenset[str] = frozenset()
    while True:
        settled = allocate(_candidates(previous, read, held), previous.leases, ports)
        missing |= _names(previous) - _names(settled)
        lost = {name: file_of[name] for name in missing if name in file_of}
        more = _held(previous, lost, identity, rules, now)
        if more.keys() <= held.keys():
            return settled, missing, held
        held |= more


def _candidates(previous: Catalog, read: Mapping[str, ManifestFile], held: Mapping[str, float]) -> dict[str, Proposal]:
    files = {**read, **{file: previous.files[file] for file in held if file not in read}}
    return {
        file: Proposal(
            proposed=None if entry.parsed.problems or file in held else entry.parsed.apps,
            in_force=entry.in_force,
            proposed_services=entry.parsed.services,
            services_in_force=entry.services_in_force,
        )
        for file, entry in sorted(files.items())
    }


def _held(
    previous: Catalog, lost: Mapping[str, str], identity: tuple[int, int], rules: Rules, now: float
) -> dict[str, float]:
    """Of the files that lost apps or services, those for which that is not believed yet."""
    moved = previous.identity is not None and identity != previous.identity
    files = set(lost.values())
    waiting = {file: until for file, until in previous.held.items() if file in files}
    newly = [name for name, file in lost.items() if file not in waiting]
    asked = len(_names(previous))
    at_once = asked > _FEW_APPS and 2 * len(newly) > asked
    pending = any(until > now for until in waiting.values())
    held = {}
    for file in files:
        until = waiting.get(file, math.inf if at_once or pending else now)
        if moved or until == math.inf:
            held[file] = now + rules.prune_after_s
        elif until > now:
            held[file] = until
    return held


def _entry(entry: ManifestFile, settled: Allocation, *, is_held: bool) -> ManifestFile:
    refused = settled.refused.get(entry.file, ())
    if refused or is_held or entry.parsed.problems or isinstance(entry.seen, str):
        return replace(entry, problems=(*entry.parsed.problems, *refused))
    return replace(
        entry,
        problems=(),
        in_force=entry.parsed.apps,
        services_in_force=entry.parsed.services,
        last_good=entry.seen,
    )


def _same(before: Asked | None, after: Asked) -> Asked:
    return before if before is not None and before == after else after


def _names(asked: Catalog | Allocation) -> frozenset[str]:
    """All that is asked for by name, services told apart from apps."""
    return frozenset((*asked.apps, *(f"service {name}" for name in asked.services)))


def _notice(kept: frozenset[str], settled: Allocation, rules: Rules) -> str:
    names, in_force = sorted(kept), len(_names(settled))
    what = "apps and services" if settled.services else "apps"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    shown = ", ".join(names[:_MOST_NAMED]) + more
    return (
        f"{len(names)} of {in_force} {what} vanished from the manifests at once ({shown}); "
        f"nothing is stopped until they have been gone for {rules.prune_after_s:g} s"
    )
