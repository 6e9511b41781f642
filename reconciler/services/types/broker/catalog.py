"""Read a broker's catalog, which is not trusted, and find the offering and plan that a manifest names."""

from collections.abc import Mapping

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Misconfigured, ServiceError, ServiceSpec
from reconciler.services.types.broker.client import BrokerSession

_CANNOT_GIVE = {
    "route_forwarding": "requests to be led through it (a route service)",
    "volume_mount": "a volume to be mounted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One plan of an offering, with the offering's defaults. `polling_s` bounds an operation."""

    id: str
    name: str
    bindable: bool
    updateable: bool
    polling_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """One service that a broker offers."""

    id: str
    name: str
    plans: tuple[Plan, ...]
    retrievable: bool
    updateable: bool
    requires: frozenset[str]


async def chosen(talk: BrokerSession, service: ServiceSpec) -> tuple[Offering, Plan]:
    """Return the offering and plan of a service. Raises Misconfigured, naming the choices, if there is none."""
    answer = await talk.ask("GET", "/v2/catalog")
    if answer.status == 404:
        raise Misconfigured(f"{talk.broker} has no catalog: its url in the host's settings is not a broker's")
    if answer.status == 412:
        raise Misconfigured(f"{talk.broker} speaks an older version of the Open Service Broker API than 2.17")
    if answer.status != 200:
        raise ServiceError(f"cannot read the catalog of {talk.broker}: it answers {answer.status}")
    if answer.body is None or not isinstance(answer.body.get("services"), list):
        raise ServiceError(f"cannot read the catalog of {talk.broker}: the answer is not a catalog")
    return pick(parsed(answer.body), service, talk)


def parsed(catalog: Mapping[str, Json]) -> tuple[Offering, ...]:
    """Return every offering that has an id, a name and a plan; malformed ones are left out."""
    return tuple(offering for entry in _objects(catalog.get("services")) if (offering := _offering(entry)) is not None)


def pick(offerings: tuple[Offering, ...], service: ServiceSpec, talk: BrokerSession) -> tuple[Offering, Plan]:
    """Find an offering and a plan by name. Raises Misconfigured if missing, ambiguous or not supported here."""
    name = service.asked.get("service")
    named = [offering for offering in offerings if offering.name == name]
    if not isinstance(name, str) or not named:
        raise Misconfigured(f"{talk.broker} has no service {name!r}; it offers {_listed(talk, offerings)}")
    offering = named[0]
    plans = [plan for plan in offering.plans if plan.name == service.plan]
    if not plans:
        there = _listed(talk, offering.plans)
        raise Misconfigured(f"{talk.broker} has no plan {service.plan!r} of {name}; it offers {there}")
    if len(named) > 1 or len(plans) > 1:
        raise Misconfigured(f"{talk.broker} has more than one plan {service.plan!r} of {name}")
    for need, words in _CANNOT_GIVE.items():
        if need in offering.requires:
            raise Misconfigured(f"{name} of {talk.broker} needs {words}, which is not supported")
    return offering, plans[0]


def _listed(talk: BrokerSession, found: tuple[Offering, ...] | tuple[Plan, ...]) -> str:
    return talk.said(", ".join(sorted(entry.name for entry in found))) or "nothing"


def _offering(entry: Mapping[str, Json]) -> Offering | None:
    identified = _identified(entry)
    if identified is None:
        return None
    plans = tuple(plan for found in _objects(entry.get("plans")) if (plan := _plan(found, entry)) is not None)
    if not plans:
        return None
    requires = entry.get("requires")
    return Offering(
        id=identified[0],
        name=identified[1],
        plans=plans,
        retrievable=entry.get("bindings_retrievable") is True,
        updateable=entry.get("plan_updateable") is True,
        requires=frozenset(need for need in requires if isinstance(need, str))
        if isinstance(requires, list)
        else frozenset(),
    )


def _plan(entry: Mapping[str, Json], offering: Mapping[str, Json]) -> Plan | None:
    identified = _identified(entry)
    if identified is None:
        return None
    polling = entry.get("maximum_polling_duration")
    bounded = isinstance(polling, int) and not isinstance(polling, bool) and 0 < polling < 10**9
    return Plan(
        id=identified[0],
        name=identified[1],
        bindable=_either(entry, offering, "bindable"),
        updateable=_either(entry, offering, "plan_updateable"),
        polling_s=float(polling) if bounded and isinstance(polling, int) else None,
    )


def _either(plan: Mapping[str, Json], offering: Mapping[str, Json], key: str) -> bool:
    said = plan.get(key)
    return said if isinstance(said, bool) else offering.get(key) is True


def _identified(entry: Mapping[str, Json]) -> tuple[str, str] | None:
    found, name = entry.get("id"), entry.get("name")
    return (found, name) if isinstance(found, str) and isinstance(name, str) and found and name else None


def _objects(found: Json) -> list[dict[str, Json]]:
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
