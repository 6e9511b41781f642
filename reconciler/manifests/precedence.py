"""Let a manifest of this host's directory win over one of an origin that claims the same name. Pure.

What an origin then loses is told at its own manifest, and comes back once the other one is gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from reconciler.documents.problem import Problem
from reconciler.manifests.allocation import Allocation, Ports, Proposal, allocate
from reconciler.manifests.app_document import AppDocument
from reconciler.manifests.origin import is_directory
from reconciler.manifests.service_document import ServiceDocument

_Document = TypeVar("_Document", AppDocument, ServiceDocument)


def allocated(proposals: Mapping[str, Proposal], leases: Mapping[str, int], ports: Ports) -> Allocation:
    """Allocate all names and ports as `allocate` does, after manifests of this host's directory have had their names.

    The claims that origins lose are in `lost`; they refuse no file.
    """
    if all(is_directory(file) for file in proposals):
        return allocate(proposals, leases, ports)
    first, lost = _with_local_first(proposals)
    return replace(allocate(first, leases, ports), lost=lost)


def _with_local_first(proposals: Mapping[str, Proposal]) -> tuple[dict[str, Proposal], dict[str, tuple[Problem, ...]]]:
    """Return the proposals without what local manifests claim as well, and a problem for each claim that is lost."""
    apps, services = _claimed(proposals.values())
    if not apps and not services:
        return dict(proposals), {}
    found: dict[str, Proposal] = {}
    lost: dict[str, tuple[Problem, ...]] = {}
    for file, proposal in proposals.items():
        if is_directory(file):
            found[file] = proposal
            continue
        newest = proposal.proposed if proposal.proposed is not None else proposal.in_force
        newest_services = proposal.proposed_services if proposal.proposed is not None else proposal.services_in_force
        problems = (*_lost(newest, apps), *_lost(newest_services, services))
        if problems:
            lost[file] = problems
        found[file] = replace(
            proposal,
            proposed=None if proposal.proposed is None else _without(proposal.proposed, apps),
            in_force=_without(proposal.in_force, apps),
            proposed_services=_without(proposal.proposed_services, services),
            services_in_force=_without(proposal.services_in_force, services),
        )
    return found, lost


def _claimed(proposals: Iterable[Proposal]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the apps and the services that manifests of the directory describe, each with where."""
    apps: dict[str, str] = {}
    services: dict[str, str] = {}
    for proposal in proposals:
        is_new = proposal.proposed is not None
        for app in proposal.in_force if proposal.proposed is None else proposal.proposed:
            if is_directory(app.manifest):
                apps[app.name] = f"{app.manifest}:{app.line}"
        for service in proposal.proposed_services if is_new else proposal.services_in_force:
            if is_directory(service.manifest):
                services[service.name] = f"{service.manifest}:{service.line}"
    return apps, services


def _without(documents: tuple[_Document, ...], claimed: Mapping[str, str]) -> tuple[_Document, ...]:
    return tuple(document for document in documents if document.name not in claimed)


def _lost(documents: Iterable[AppDocument | ServiceDocument], claimed: Mapping[str, str]) -> Iterable[Problem]:
    for document in documents:
        if document.name in claimed:
            line, column = document.places.get("name", (document.line, 1))
            message = f"'{document.name}' is described by {claimed[document.name]}, and a manifest of this host wins"
            yield Problem(file=document.manifest, line=line, column=column, path="name", message=message)
