"""Allocate names and ports over the manifests of all files at once. Nothing allocated collides or depends on itself.

Of two files that claim the same, the one in force keeps it and the other is refused; two new ones are both refused, as
are all on a new cycle of `depends_on`. What is refused keeps what it had. More and more is refused, so this ends; were
everything refused, what was in force before would remain.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

from reconciler.documents.problem import Problem, first_problems
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import AppDocument
from reconciler.manifests.cycles import cycles
from reconciler.manifests.domain_claims import DomainClaim, claims, rivalries
from reconciler.manifests.service_document import ServiceDocument
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service
from reconciler.planning.wording import listed


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
    """The apps and services in force, the leases they and others hold, and why some files keep what they had.

    `lost` are claims of files that are in force without them.
    """

    apps: Mapping[str, App]
    leases: Mapping[str, int]
    services: Mapping[str, Service] = field(default_factory=dict)
    refused: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    lost: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)


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
        without_web = {document.name for document in chosen if not document.has_web}
        held = {name: port for name, port in leases.items() if name not in without_web}
        with_web = [document for document in chosen if document.has_web]
        leased, unleased = _leased(with_web, held, ports, _explicit_ports(candidates))
        names = [*_name_problems(chosen), *_name_problems(services)]
        others = [*_port_problems(chosen, held), *_cycle_problems(chosen), *_domain_problems(chosen)]
        conflicts = [*names, *others] or unleased
        yielding = {file for file, candidate in candidates.items() if candidate.proposed is not None} - refused.keys()
        open_conflicts = [each for each in conflicts if each.document.manifest in yielding]
        caused = [each for each in open_conflicts if not each.is_in_force(candidates[each.document.manifest])]
        newly = [each.problem for each in caused or open_conflicts]
        if not newly:
            found = {file: first_problems(file, problems) for file, problems in refused.items()}
            desired = {document.name: document.service for document in sorted(services, key=lambda d: d.name)}
            return Allocation(apps=apps_of(chosen, leased), leases=leased, services=desired, refused=found)
        for problem in newly:
            refused.setdefault(problem.file, []).append(problem)


def apps_of(chosen: Sequence[AppDocument], leases: Mapping[str, int]) -> dict[str, App]:
    """Return the apps that documents describe, by name: those that have what they listen at."""
    apps = {}
    for document in sorted(chosen, key=lambda document: document.name):
        port = document.port or leases.get(document.name)
        if port is not None or not document.has_port:
            apps[document.name] = document.app(port)
    return apps


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conflict:
    """A claim that cannot be granted: what is claimed by the field, and the message; `domain` if that is a domain."""

    document: AppDocument | ServiceDocument
    field: str
    message: str
    domain: DomainClaim | None = None

    @property
    def problem(self) -> Problem:
        """The conflict at the field that claims, or where the document begins if it does so by default."""
        line, column = self.document.places.get(self.field, (self.document.line, 1))
        return Problem(file=self.document.manifest, line=line, column=column, path=self.field, message=self.message)

    def is_in_force(self, candidate: Proposal) -> bool:
        """Whether the same file made this claim before, and still has what it claims."""
        in_force: tuple[AppDocument | ServiceDocument, ...] = (*candidate.in_force, *candidate.services_in_force)
        return any(self._claim_of(document) == self._claim_of(self.document) for document in in_force)

    def _claim_of(self, document: AppDocument | ServiceDocument) -> object:
        if self.field == "name" or isinstance(document, ServiceDocument):
            return (type(document), document.name)
        if self.domain is not None:
            return (document.name, claims(document, self.domain))
        depends_on = document.unleased.depends_on if self.field == "depends_on" else ()
        return (document.name, document.host, document.port, depends_on)


def _name_problems(chosen: Sequence[AppDocument | ServiceDocument]) -> Iterator[_Conflict]:
    claims = defaultdict(list)
    for document in chosen:
        claims[document.name].append(document)
    for name, claimants in claims.items():
        if len(claimants) > 1:
            for document in claimants:
                others = [_location(other, "name") for other in claimants if other is not document]
                yield _conflict(document, "name", f"'{name}' is also claimed by {listed(others)}")


def _port_problems(chosen: list[AppDocument], leases: Mapping[str, int]) -> Iterator[_Conflict]:
    claims = defaultdict(list)
    for document in chosen:
        if document.port is not None:
            claims[document.port].append(document)
    documents = {document.name: document for document in chosen}
    holders = {port: name for name, port in leases.items() if name in documents and documents[name].port is None}
    for port, claimants in claims.items():
        for document in claimants:
            rivals = [other for other in claimants if other is not document and _overlap(document.host, other.host)]
            if rivals:
                others = [f"'{other.name}' in {_location(other, 'port')}" for other in rivals]
                yield _conflict(document, "port", f"{document.host}:{port} is also claimed by {listed(others)}")
            elif (holder := holders.get(port, document.name)) != document.name:
                where = _location(documents[holder])
                yield _conflict(document, "port", f"{port} is leased to '{holder}' in {where}; choose another")


def _domain_problems(chosen: list[AppDocument]) -> Iterator[_Conflict]:
    with_domains = [document for document in chosen if document.unleased.routing is not None]
    for rivalry in rivalries(with_domains) if len(with_domains) > 1 else ():
        others = [f"'{other.name}' in {_location(other, 'domains')}" for other in rivalry.others]
        message = f"{rivalry.what} {listed(others)}"
        yield _Conflict(document=rivalry.document, field=rivalry.field, message=message, domain=rivalry.claim)


def _cycle_problems(chosen: list[AppDocument]) -> Iterator[_Conflict]:
    needs: defaultdict[str, set[str]] = defaultdict(set)
    for document in chosen:
        needs[document.name].update(document.unleased.depends_on)
    found = cycles(needs)
    for document in chosen:
        if document.unleased.depends_on and document.name in found:
            message = f"'{document.name}' depends on itself: {found[document.name]}"
            yield _conflict(document, "depends_on", message)


def _explicit_ports(candidates: Mapping[str, Proposal]) -> frozenset[int]:
    return frozenset(
        document.port
        for candidate in candidates.values()
        for document in (*(candidate.proposed or ()), *candidate.in_force)
        if document.port is not None
    )


def _leased(
    chosen: list[AppDocument], leases: Mapping[str, int], ports: Ports, explicit: frozenset[int]
) -> tuple[dict[str, int], list[_Conflict]]:
    """Return the leases, one for every app that needs a port and sets none, and a conflict for each that got none.

    An app that listens at a socket keeps the lease that it had before, as it may still serve there.
    An app that sets a port keeps its lease for the day on which it sets none, unless another app has that port or
    the range has no other. The lease of an app that is being removed ends when another app sets that port.
    """
    setters = {document.port: document.name for document in chosen if document.port is not None}
    with_a_port = set(setters.values())
    without = {document.name for document in chosen} - with_a_port
    leased = {n: port for n, port in leases.items() if n in without or setters.get(port, n) == n}
    taken = {*explicit, *leases.values()}
    # One walk through the range for each address: what was not free for one app is not for the next.
    walks: defaultdict[str, Iterator[int]] = defaultdict(lambda: iter(ports.range))
    problems = []
    for document in chosen:
        if document.port is not None or not document.has_port or document.name in leased:
            continue
        walk = walks[document.host]
        port = next((port for port in walk if port not in taken and ports.is_free(document.host, port)), None)
        if port is None:
            spared = next((n for n in sorted(leased) if n in with_a_port and leased[n] not in explicit), None)
            port = None if spared is None else leased.pop(spared)
        if port is None:
            problems.append(_unleased(document, ports))
        else:
            leased[document.name] = port
            taken.add(port)
    return leased, problems


def _unleased(document: AppDocument, ports: Ports) -> _Conflict:
    """Return why an app without a port gets none."""
    if not ports.is_free(document.host, 0):  # as any port of an address of this host is, one of which 0 stands for
        return _conflict(document, "host", f"{document.host} is no address of this host")
    bounds = f"{ports.range.start} to {ports.range.stop - 1}"
    return _conflict(document, "port", f"no port in the host's range ({bounds}) is free")


def _overlap(one: str, other: str) -> bool:
    return Address(host=one, port=0).overlaps(Address(host=other, port=0))


def _location(document: AppDocument | ServiceDocument, field: str = "") -> str:
    """Return where a document claims something by a field, or where it begins if it does so by default."""
    line, _ = document.places.get(field, (document.line, 1))
    return f"{document.manifest}:{line}"


def _conflict(document: AppDocument | ServiceDocument, field: str, message: str) -> _Conflict:
    return _Conflict(document=document, field=field, message=message)
