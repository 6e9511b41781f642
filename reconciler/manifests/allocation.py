"""Allocate names and ports over the manifests of all files at once. Nothing allocated collides or depends on itself.

Two files that claim the same are both refused, as are all on a cycle of `depends_on`, and each keeps what it had. More
and more is refused, so this ends; were everything refused, what was in force before would remain.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.documents.problem import Problem
from reconciler.manifests.app_document import AppDocument
from reconciler.manifests.cycles import cycles
from reconciler.manifests.service_document import ServiceDocument
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service

_EVERY_ADDRESS = frozenset(("0.0.0.0", "::"))
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One file: its newest content, None when that is not to take effect, and what is in force from it."""

    proposed: tuple[AppDocument, ...] | None
    in_force: tuple[AppDocument, ...]
    proposed_services: tuple[ServiceDocument, ...] = ()
    services_in_force: tuple[ServiceDocument, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports that may be leased."""

    range: range
    is_free: Callable[[str, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The apps and services in force, the leases they and others hold, and why some files keep what they had."""

    apps: Mapping[str, App]
    leases: Mapping[str, int]
    services: Mapping[str, Service] = field(default_factory=dict)
    refused: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)


def allocate(candidates: Mapping[str, Proposal], leases: Mapping[str, int], ports: Ports) -> Allocation:
    """Allocate all names and ports. A lease stays with its holder; an app without a port gets the lowest free one."""
    refused: dict[str, list[Problem]] = {}
    while True:
        chosen = [
            document
            for file, candidate in candidates.items()
            for document in (
                candidate.in_force if candidate.proposed is None or file in refused else candidate.proposed
            )
        ]
        services = [
            document
            for file, candidate in candidates.items()
            for document in (
                candidate.services_in_force
                if candidate.proposed is None or file in refused
                else candidate.proposed_services
            )
        ]
        leased, unleased = _leased(chosen, leases, ports, _explicit_ports(candidates))
        names = [*_name_problems(chosen), *_name_problems(services)]
        problems = [*names, *_port_problems(chosen, leases), *_cycle_problems(chosen)] or unleased
        yielding = {file for file, candidate in candidates.items() if candidate.proposed is not None} - refused.keys()
        newly = [problem for problem in problems if problem.file in yielding]
        if not newly:
            found = {file: tuple(problems) for file, problems in refused.items()}
            desired = {document.name: document.service for document in sorted(services, key=lambda d: d.name)}
            return Allocation(apps=_apps(chosen, leased), leases=leased, services=desired, refused=found)
        for problem in newly:
            refused.setdefault(problem.file, []).append(problem)


def _apps(chosen: list[AppDocument], leases: Mapping[str, int]) -> dict[str, App]:
    apps = {}
    for document in sorted(chosen, key=lambda document: document.name):
        port = document.port or leases.get(document.name)
        if port is not None:
            apps[document.name] = document.app(port)
    return apps


def _name_problems(chosen: Sequence[AppDocument | ServiceDocument]) -> Iterator[Problem]:
    claims = defaultdict(list)
    for document in chosen:
        claims[document.name].append(document)
    for name, claimants in claims.items():
        if len(claimants) > 1:
            for document in claimants:
                others = [_location(other) for other in claimants if other is not document]
                yield _problem(document, "name", f"'{name}' is also claimed by {_listed(others)}")


def _port_problems(chosen: list[AppDocument], leases: Mapping[str, int]) -> Iterator[Problem]:
    claims = defaultdict(list)
    for document in chosen:
        if document.port is not None:
            claims[document.port].append(document)
    documents = {document.name: document for document in chosen}
    holders = {port: name for name, port in leases.items() if name not in documents or documents[name].port is None}
    for port, claimants in claims.items():
        for document in claimants:
            rivals = [other for other in claimants if other is not document and _overlap(document.host, other.host)]
            if rivals:
                others = [f"'{other.name}' in {_location(other)}" for other in rivals]
                yield _problem(document, "port", f"{document.host}:{port} is also claimed by {_listed(others)}")
            elif (holder := holders.get(port, document.name)) != document.name:
                yield _lease_problem(document, holder, documents.get(holder))


def _lease_problem(document: AppDocument, holder: str, leaseholder: AppDocument | None) -> Problem:
    where = f" in {_location(leaseholder)}" if leaseholder else ", which is being removed"
    return _problem(document, "port", f"{document.port} is leased to '{holder}'{where}; choose another")


def _cycle_problems(chosen: list[AppDocument]) -> Iterator[Problem]:
    needs: defaultdict[str, set[str]] = defaultdict(set)
    for document in chosen:
        needs[document.name].update(document.unleased.depends_on)
    found = cycles(needs)
    for document in chosen:
        if document.unleased.depends_on and document.name in found:
            message = f"'{document.name}' depends on itself: {found[document.name]}"
            yield _problem(document, "depends_on", message, line=document.depends_on_line)


def _explicit_ports(candidates: Mapping[str, Proposal]) -> frozenset[int]:
    return frozenset(
        document.port
        for candidate in candidates.values()
        for document in (*(candidate.proposed or ()), *candidate.in_force)
        if document.port is not None
    )


def _leased(
    chosen: list[AppDocument], leases: Mapping[str, int], ports: Ports, explicit: frozenset[int]
) -> tuple[dict[str, int], list[Problem]]:
    """Return the leases, one for every app that sets no port, and a problem for each app that could get none."""
    with_a_port = {document.name for document in chosen if document.port is not None}
    leased = {name: port for name, port in leases.items() if name not in with_a_port}
    taken = {*explicit, *leases.values()}
    # One walk through the range for each address: what was not free for one app is not for the next.
    walks: defaultdict[str, Iterator[int]] = defaultdict(lambda: iter(ports.range))
    problems = []
    for document in chosen:
        if document.port is not None or document.name in leased:
            continue
        walk = walks[document.host]
        port = next((port for port in walk if port not in taken and ports.is_free(document.host, port)), None)
        if port is None:
            bounds = f"{ports.range.start} to {ports.range.stop - 1}"
            problems.append(_problem(document, "port", f"no port in the host's range ({bounds}) is free"))
        else:
            leased[document.name] = port
            taken.add(port)
    return leased, problems


def _overlap(one: str, other: str) -> bool:
    one, other = ("127.0.0.1" if host == "localhost" else host for host in (one, other))
    return one == other or bool(_EVERY_ADDRESS & {one, other})


def _location(document: AppDocument | ServiceDocument) -> str:
    return f"{document.manifest}:{document.line}"


def _listed(others: list[str]) -> str:
    more = len(others) - _MOST_NAMED
    return ", ".join(others[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _problem(document: AppDocument | ServiceDocument, path: str, message: str, *, line: int | None = None) -> Problem:
    return Problem(file=document.manifest, line=line or document.line, column=1, path=path, message=message)
