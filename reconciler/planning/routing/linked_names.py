"""Serve names by what lies on the disk, so that a change of them is no change of the proxy's configuration.

For each name there is a link to its app's socket, and a file named by the app's key; the configuration has two routes
for all of them. A host name reaches a path only when it is one that a manifest may have, so that no request leads
out of the two directories. Certificates are made when a name is first asked for, by a client or by the daemon itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.routing.domain_names import PRIVATE, is_private, is_wildcard
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing

Config: TypeAlias = dict[str, Any]

LINKS, KEYS = "links", "names"
KEY = "{http.regexp.key.1}"
UPSTREAM = f"unix/{LINKS}/{{http.request.host}}"
_ASK = "/reconciler/ask"
_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_NAME = f"^{_LABEL}(\\.{_LABEL})*$"
# With a letter or a dot that manifests do not have: it leads to the name that the client has asked TLS for.
_SPELT_OTHERWISE = "^[A-Za-z0-9.-]*[A-Z][A-Za-z0-9.-]*$|^[a-z0-9.-]+\\.$"
_HOST, _SERVER_NAME = "{http.request.host}", "{http.request.tls.server_name}"
_LONGEST = 90  # a socket's path has room for 107 bytes
_DEEPEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a name leads: the path of a socket, as the proxy dials it, and the key of its app."""

    target: str
    key: str


def links_of(routes: tuple[Route, ...]) -> Mapping[str, Link]:
    """Return every name that a link can serve, with where it leads."""
    return {
        name: Link(target=route.upstream.removeprefix("unix/"), key=route.key)
        for route in routes
        if is_linked(route)
        for name in route.routing.domains
    }


def configured(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """Return the routes that are for the configuration, as something about them is their own."""
    return tuple(route for route in routes if not is_linked(route))


def is_linked(route: Route) -> bool:
    """Return whether a link says all there is to an app: nothing of its names is said but the names."""
    names, plain = route.routing.domains, replace(route.routing, domains=())
    if plain.tls == "internal" and all(map(is_private, names)):
        plain = replace(plain, tls="auto")
    same = plain == Routing(domains=()) and route == replace(_PLAIN, **_own(route))
    return (
        same
        and route.upstream.startswith("unix/")
        and not any(is_wildcard(name) or len(name) > _LONGEST for name in names)
    )


def _own(route: Route) -> dict[str, Any]:
    return {"app": route.app, "routing": route.routing, "upstream": route.upstream, "key": route.key}


_PLAIN = Route(app="", routing=Routing(domains=()), upstream=UPSTREAM, key=KEY)


def any_route() -> Route:
    """Return the route of which all linked names are instances."""
    return _PLAIN


def secure_routes(handlers: list[Config], front: Front) -> list[Config]:
    """Return the routes over TLS: `handlers` are those of `any_route`."""
    keyed = {"vars_regexp": {"{http.matchers.file.relative}": {"name": "key", "pattern": "/([0-9a-f]{32})$"}}}
    inner = {"match": [keyed], "handle": [in_order(handlers)]}
    spelt = {"vars_regexp": {_HOST: {"name": "spelt", "pattern": _SPELT_OTHERWISE}}, **_file(_SERVER_NAME)}
    return [
        {"match": [_known(_HOST)], "handle": [_subroute([inner])], "terminal": True},
        {"match": [spelt], "handle": [_to(_SERVER_NAME, front)], "terminal": True},
    ]


def in_order(handlers: list[Config]) -> Config:
    """Return one handler of several, of which each is a handler or a route."""
    routes = [each if "handle" in each else {"handle": [each]} for each in handlers]
    return {"handler": "subroute", "routes": routes}


def plain_routes(front: Front) -> list[Config]:
    """Return the routes without TLS: to the one with, and whether a name may have a certificate."""
    asked = {
        "host": [_own_address(front)],
        "path": [_ASK],
        "remote_ip": {"ranges": [_own_address(front)]},
        **_known("{http.request.uri.query.domain}"),
    }
    yes = {"handler": "static_response", "status_code": 200}
    return [
        {"match": [asked], "handle": [yes], "terminal": True},
        {"match": [_known(_HOST)], "handle": [_to(_HOST, front)], "terminal": True},
    ]


def automation(front: Front, issuer: Config) -> Config:
    """Return how names get their certificates; `issuer` is the authority of the settings, {} for the proxy's choice."""
    policies: list[Config] = []
    if not front.ca:
        levels = ["*.", "*.*.", "*.*.*.", "*.*.*.*.", "*.*.*.*.*."][:_DEEPEST]
        subjects = ["*", *(f"{level}{each}" for each in PRIVATE for level in levels)]
        policies.append({"subjects": subjects, "issuers": [{"module": "internal"}], "on_demand": True})
    policies.append({"on_demand": True, **({"issuers": [issuer]} if issuer else {})})
    host = _own_address(front)
    endpoint = f"http://{f'[{host}]' if ':' in host else host}:{front.http}{_ASK}"
    return {"policies": policies, "on_demand": {"permission": {"module": "http", "endpoint": endpoint}}}


def _own_address(front: Front) -> str:
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(front.address, front.address)


def _known(name: str) -> Config:
    return {"vars_regexp": {name: {"name": "name", "pattern": _NAME}}, **_file(name)}


def _file(name: str) -> Config:
    return {"file": {"root": KEYS, "try_files": [f"{name}/*"]}}


def _subroute(routes: list[Config]) -> Config:
    return {"handler": "subroute", "routes": routes}


def _to(name: str, front: Front) -> Config:
    port = "" if front.https == 443 else f":{front.https}"
    headers = {"Location": [f"https://{name}{port}{{http.request.uri}}"]}
    return {"handler": "static_response", "status_code": 308, "headers": headers}
