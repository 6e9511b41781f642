"""Find apps that claim one domain, or that share one and disagree on how it is served. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import AppDocument

# A name and a path of it, or a name and what all apps there have to agree on.
DomainClaim: TypeAlias = tuple[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivalry:
    """One claim of an app that others contest: by which field, and in which words before the others' names."""

    document: AppDocument
    others: tuple[AppDocument, ...]
    field: str
    what: str
    claim: DomainClaim


def claims(document: AppDocument, claim: DomainClaim) -> bool:
    """Return whether a document makes a claim."""
    return claim in _claims(document)


def rivalries(documents: Sequence[AppDocument]) -> Iterator[Rivalry]:
    """Yield every contested claim, once for each app that makes it."""
    holders: defaultdict[DomainClaim, list[AppDocument]] = defaultdict(list)
    manners: defaultdict[str, dict[object, list[AppDocument]]] = defaultdict(dict)
    for document in documents:
        for name, what in _claims(document):
            if isinstance(what, str):
                holders[name, what].append(document)
            else:
                manners[name].setdefault(what, []).append(document)
    for (name, below), claimants in holders.items():
        for document in claimants if len(claimants) > 1 else ():
            path = "" if below == "/" else str(below)
            yield Rivalry(
                document=document,
                others=tuple(other for other in claimants if other is not document),
                field=_field(document, name),
                what=f"{name}{path} is also claimed by",
                claim=(name, below),
            )
    for name, asked in manners.items():
        for manner, agreed in asked.items() if len(asked) > 1 else ():
            for document in agreed:
                yield Rivalry(
                    document=document,
                    others=tuple(other for others in asked.values() for other in others if other not in agreed),
                    field=_field(document, name),
                    what=f"'tls', 'http' and 'hsts' of {name} have to be as in",
                    claim=(name, manner),
                )


def _claims(document: AppDocument) -> Iterator[DomainClaim]:
    routing = document.unleased.routing
    if routing is None:
        return
    yield from routing.claims()
    manner = routing.of_a_name()
    for name in routing.domains:
        yield name, manner


def _field(document: AppDocument, name: str) -> str:
    """Return the field that names a domain; an app that has it by default names it nowhere."""
    routing = document.unleased.routing
    assert routing is not None
    for field, names in (("domains", routing.domains), ("redirects", routing.redirects)):
        if name in names and f"{field}[{names.index(name)}]" in document.places:
            return f"{field}[{names.index(name)}]"
    return "domains"
