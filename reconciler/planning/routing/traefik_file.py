"""Make the dynamic configuration of Traefik, as its file provider reads it.

Traefik itself says in X-Forwarded-* and X-Real-Ip who the client is, and drops what a client says there.
"""

import json
import re
from typing import Any

from reconciler.planning.routing.domain_names import ANY
from reconciler.planning.routing.file_words import HEAD, word
from reconciler.planning.routing.route import (
    CLIENT_HEADER,
    FORGEABLE_HEADERS,
    Front,
    Place,
    Route,
    is_everything,
    places,
    redirected,
    target,
)

Section = dict[str, Any]
_ITS_OWN = frozenset(("X-Real-Ip", "X-Forwarded-Port"))
_EXACT = 1000  # goes before every wildcard, however long its rule is


def traefik(routes: tuple[Route, ...], front: Front) -> str:
    """Return JSON, which is YAML as well: its strings need no quoting of ours. Raises Unquotable."""
    middlewares: Section = {}
    routers = _routers(routes, front, middlewares)
    if not routers:
        return f"{HEAD}\n{{}}\n"
    certificates = {
        (each.routing.certificate.chain, each.routing.certificate.key) for each in routes if each.routing.certificate
    }
    config: Section = {
        "http": {
            "routers": routers,
            "services": {_of(route): _service(route) for route in routes},
            "serversTransports": {_of(route): _transport(route) for route in routes},
            "middlewares": middlewares,
        }
    }
    if certificates:
        found = [{"certFile": chain, "keyFile": key} for chain, key in sorted(certificates)]
        config["tls"] = {"certificates": found}
    return f"{HEAD}\n{json.dumps(config, indent=1, sort_keys=True)}\n"


def _of(route: Route) -> str:
    return f"reconciler-{route.app}"


def _routers(routes: tuple[Route, ...], front: Front, middlewares: Section) -> Section:
    """Return the routers by name; what they need of middlewares is put there."""
    routers: Section = {}
    for place in places(routes):
        route, routing = place.route, place.route.routing
        base = {"rule": _rule(place), "service": _of(route), "priority": _priority(place.name, _rule(place))}
        chain = _middlewares(route, middlewares)
        key = f"reconciler-{len(routers)}"
        plain = chain
        if routing.tls != "off" and routing.http != "serve":
            to_tls = {"scheme": "https", "permanent": True, "port": str(front.https)}
            middlewares["reconciler-tls"] = {"redirectScheme": to_tls}
            plain = ["reconciler-tls"]
        routers[f"{key}-http"] = {**base, "entryPoints": ["web"], "middlewares": plain}
        if routing.tls != "off":
            routers[key] = {**base, "entryPoints": ["websecure"], "middlewares": chain, "tls": {}}
    for name, route in redirected(routes):
        key = f"reconciler-{len(routers)}"
        to_first = {"regex": "^https?://[^/]+/(.*)", "replacement": f"{target(route, front)}/${{1}}", "permanent": True}
        middlewares[key] = {"redirectRegex": to_first}
        rule = _host(name)
        base = {"rule": rule, "service": _of(route), "priority": _priority(name, rule), "middlewares": [key]}
        routers[f"{key}-http"] = {**base, "entryPoints": ["web"]}
        if route.routing.tls != "off":  # one router for both would serve TLS alone
            routers[key] = {**base, "entryPoints": ["websecure"], "tls": {}}
    return routers


def _rule(place: Place) -> str:
    if is_everything(place.below):
        return _host(place.name)
    below = word(place.below)
    return f"{_host(place.name)} && (Path(`{below}`) || PathPrefix(`{below}/`))"


def _host(name: str) -> str:
    if name.startswith(ANY):
        return f"HostRegexp(`^[^.]+{re.escape(word(name)[1:])}$`)"
    return f"Host(`{word(name)}`)"


def _priority(name: str, rule: str) -> int:
    return _EXACT * (not name.startswith(ANY)) + len(rule)


def _service(route: Route) -> Section:
    """Return the service of an app; one without a server is answered with 503."""
    servers = [] if route.stopped else [{"url": f"http://{word(route.upstream)}"}]
    return {"loadBalancer": {"servers": servers, "serversTransport": _of(route)}}


def _transport(route: Route) -> Section:
    """Return how an app is reached: no connection is kept, which the app could end while a request is on its way."""
    limit_s = route.routing.answer_timeout_s
    limits = {} if limit_s is None else {"forwardingTimeouts": {"responseHeaderTimeout": f"{limit_s:.0f}s"}}
    return {"maxIdleConnsPerHost": -1, **limits}


def _middlewares(route: Route, middlewares: Section) -> list[str]:
    routing = route.routing
    made: Section = {}
    if routing.allow_from:
        made["allow"] = {"ipAllowList": {"sourceRange": [*routing.allow_from]}}
    if route.accounts is not None:
        made["login"] = {"basicAuth": {"users": [f"{user}:{hashed}" for user, hashed in route.accounts]}}
    if routing.body_limit is not None:
        made["body"] = {"buffering": {"maxRequestBodyBytes": routing.body_limit}}
    if routing.hsts_s is not None:
        made["hsts"] = {"headers": {"stsSeconds": int(routing.hsts_s)}}
    # An empty value removes a header. SCRIPT_NAME is one that gunicorn takes for a proxy's word.
    said = {name: "" for name in (*FORGEABLE_HEADERS, "SCRIPT_NAME") if name not in _ITS_OWN}
    said[CLIENT_HEADER] = f"{word(route.key)} -" if route.key else ""
    made["client"] = {"headers": {"customRequestHeaders": said}}
    if routing.strip and not is_everything(routing.below):
        made["strip"] = {"stripPrefix": {"prefixes": [routing.below]}}
    named = {f"{_of(route)}-{name}": middleware for name, middleware in made.items()}
    middlewares.update(named)
    return [*named]
