"""Say where the pods of an app may connect to, as a NetworkPolicy does: by networks and ports, which has no names."""

from reconciler.planning.apps.app import App
from reconciler.planning.fingerprint import Json
from reconciler.planning.isolation.destinations import place_of

_DNS = 53
_BITS = {4: 32, 6: 128}


def egress(app: App) -> list[Json]:
    """Return the rules of what its pods may reach; none for an app that connects nowhere.

    One with a list asks the resolvers of the cluster besides, wherever they are.
    """
    rules: list[Json] = []
    for place in map(place_of, app.isolation.places):
        rule: dict[str, Json] = {}
        if place.network:
            bits = "" if "/" in place.network else f"/{_BITS[6 if ':' in place.network else 4]}"
            rule["to"] = [{"ipBlock": {"cidr": f"{place.network}{bits}"}}]
        if place.port:
            rule["ports"] = _ports(place.port)
        rules.append(rule)
    return [*rules, {"ports": _ports(_DNS)}] if rules else []


def names_of(app: App) -> list[str]:
    """Return the names in the list of an app."""
    return [place.name for place in map(place_of, app.isolation.places) if place.name]


def _ports(port: int) -> list[Json]:
    return [{"protocol": protocol, "port": port} for protocol in ("TCP", "UDP")]
