"""Make Caddy's configuration of all routes: the whole of a Caddy of our own, or our part of the operator's.

Values only ever become JSON strings. Everything that is ours in another configuration carries an `@id` of ours, or is a
server with a name of ours; all else of it comes out as it went in.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.routing import linked_names
from reconciler.planning.routing.certificates import MARK, Config, certified
from reconciler.planning.routing.domain_names import is_wildcard
from reconciler.planning.routing.route import (
    CLIENT_HEADER,
    FORGEABLE_HEADERS,
    PREFIX_HEADER,
    Entry,
    Front,
    Place,
    Route,
    is_everything,
    places,
    redirected,
    target,
)
from reconciler.planning.routing.routing import Routing
from reconciler.planning.routing.static_files import caddy_handlers

_PLAIN = f"{MARK}-http"
_SECOND = 1_000_000_000  # Caddy's durations are nanoseconds
_KEEP_STREAMS_S = 24 * 3600
_END_RELOAD_S = 300
_RETRY_EVERY_S = 0.05
# When an HTTP/1.1 answer begins, Go's server throws away so many bytes of a body that has not arrived: the app then
# gets too little of it, and its answer is cut off.
_MOST_BUFFERED = 256 * 1024
# WSGI has "_" for each "-": X_Forwarded_For would stand beside, or for, what the proxy says. SCRIPT_NAME is gunicorn's.
_WITH_UNDERSCORE = "*_*"
_FORGED = (*FORGEABLE_HEADERS, PREFIX_HEADER)
# Caddy logs requests that fail with their headers; of those it knows only cookies and passwords as secrets.
_WITHOUT_KEYS: Mapping[str, Any] = {
    "format": "filter",
    "wrap": {"format": "json"},
    "fields": {f"request>headers>{CLIENT_HEADER}": {"filter": "delete"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a version of Caddy can do that an older one refuses as unknown."""

    keeps_streams: bool = True
    knows_client: bool = True
    buffers_bodies: bool = True

    @classmethod
    def of(cls, version: tuple[int, ...]) -> "Abilities":
        """Return those of a version; of one that is not known, those of today's."""
        if not version:
            return cls()
        newer = version >= (2, 8)
        return cls(keeps_streams=version >= (2, 7), knows_client=newer, buffers_bodies=newer)


def whole(routes: tuple[Route, ...], front: Front, abilities: Abilities, log: str, *, links: bool = False) -> Config:
    """Return the configuration of a Caddy that is all ours; it works in its own directory, and logs to `log`.

    With `links` it serves the names that are linked there as well, whatever they are.
    """
    unknown = {"handle": [{"handler": "static_response", "status_code": 404}]}
    # Once for all routes: with every handler a change takes Caddy longer.
    cleaned = {"handle": [{"handler": "headers", "request": {"delete": [_WITH_UNDERSCORE, *_FORGED]}}]}
    trusted = _trusted(front, abilities)
    secure = {
        "listen": [front.listen(front.https)],
        "routes": [
            cleaned,
            *_secure_routes(routes, front, abilities, clean=True),
            *(linked_names.secure_routes(_any_handlers(front, abilities), front) if links else ()),
            unknown,
        ],
        "tls_connection_policies": [{}],
        "automatic_https": {"disable_redirects": True},
        **_protocols(front),
        **trusted,
    }
    linked = linked_names.plain_routes(front) if links else []
    plain_routes = [cleaned, *_plain_routes(routes, front, abilities, clean=True), *linked, unknown]
    plain = {"listen": [front.listen(front.http)], "routes": plain_routes}
    return {
        "admin": {"listen": "unix/admin.sock", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "INFO", "writer": _log_writer(log), "encoder": _WITHOUT_KEYS}}},
        "storage": {"module": "file_system", "root": "data"},
        "apps": {
            "http": {
                "http_port": front.http,
                "https_port": front.https,
                "grace_period": _END_RELOAD_S * _SECOND,
                "servers": {
                    MARK: secure,
                    _PLAIN: {**plain, "automatic_https": {"disable": True}, **trusted},
                },
            },
            "tls": certified(routes, front, links=links),
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
        },
    }


def spliced(theirs: Config, routes: tuple[Route, ...], front: Front, abilities: Abilities) -> Config:
    """Return a configuration of the operator's with our part put in, in place of what it had of ours."""
    config = without(theirs)
    if not routes:
        return config
    apps = _child(config, "apps")
    http = _child(apps, "http")
    servers = dict(http.get("servers") or {})
    ours = (
        (MARK, front.https, _secure_routes(routes, front, abilities, clean=False)),
        (_PLAIN, front.http, _plain_routes(routes, front, abilities, clean=False)),
    )
    for name, port, made in ours:
        _place(servers, name, front, port, list(made))
    http["servers"] = servers
    tls = certified(routes, front)
    if tls:
        mine = _child(apps, "tls")
        for path in (("automation", "policies"), ("certificates", "load_files")):
            added = tls.get(path[0], {}).get(path[1], [])
            if added:
                section = _child(mine, path[0])
                section[path[1]] = [*added, *(section.get(path[1]) or [])]
    return config


def without(config: Config) -> Config:
    """Return a configuration without everything in it that is ours."""
    left: Config = _unmarked(config)
    if not isinstance(left.get("apps"), dict):
        return left
    servers = _within(left, "apps", "http", "servers")
    for name in (MARK, _PLAIN):
        servers.pop(name, None)
    for path in (("tls", "automation", "policies"), ("tls", "certificates", "load_files"), ("http", "servers")):
        _prune(left, ("apps", *path), of=config)
    return left


def names_in(config: Config) -> frozenset[str]:
    """Return the names that our routes in a configuration serve."""
    servers = _within(config, "apps", "http", "servers")
    routes = [each for server in servers.values() if isinstance(server, dict) for each in server.get("routes") or ()]
    # Another program may have changed one of ours: it is put back, whatever it looks like now.
    matches = [match for route in routes if _is_ours(route) for match in route.get("match") or ()]
    return frozenset(str(name) for match in matches if isinstance(match, Mapping) for name in match.get("host") or ())


def dialled_in(part: Any) -> frozenset[str]:
    """Return every address that a configuration, or a part of one, has a proxy dial."""
    if isinstance(part, Mapping):
        own = part.get("dial")
        return frozenset((own,) if isinstance(own, str) else ()).union(*map(dialled_in, part.values()))
    return frozenset().union(*map(dialled_in, part)) if isinstance(part, list) else frozenset()


def ours_in(config: Config) -> Config:
    """Return what is ours in a configuration of the operator's: routes by scheme, policies and certificates."""
    servers = [each for each in _within(config, "apps", "http", "servers").values() if isinstance(each, dict)]
    lists = {
        "routes": [route for server in servers for route in server.get("routes") or ()],
        "policies": _within(config, "apps", "tls", "automation").get("policies") or [],
        "load_files": _within(config, "apps", "tls", "certificates").get("load_files") or [],
    }
    return {name: sorted(filter(_is_ours, found), key=lambda part: str(part["@id"])) for name, found in lists.items()}


def _place(servers: Config, name: str, front: Front, port: int, made: list[Config]) -> None:
    """Put routes first into the operator's server at a port, or into one of our own where there is none."""
    for key, server in servers.items():
        if isinstance(server, dict) and any(str(each).endswith(f":{port}") for each in server.get("listen") or ()):
            servers[key] = {**server, "routes": [*made, *(server.get("routes") or [])]}
            return
    if made:
        secure: Config = {"tls_connection_policies": [{}], **_protocols(front)} if name == MARK else {}
        servers[name] = {"listen": [front.listen(port)], "routes": made, **secure}


def _protocols(front: Front) -> Config:
    """Return which protocols a server of ours with TLS speaks, where that is less than Caddy does by itself."""
    return {} if front.http3 else {"protocols": ["h1", "h2"]}


def _secure_routes(routes: tuple[Route, ...], front: Front, abilities: Abilities, *, clean: bool) -> Iterator[Config]:
    """Yield the routes over TLS; with `clean`, what clients forge is gone before them, else each route sees to that."""
    for place in places(tuple(route for route in routes if route.routing.tls != "off")):
        yield _route("https", place, _handlers(place.route, front, abilities, secure=True, clean=clean))
    for name, route in redirected(routes):
        if route.routing.tls != "off":
            yield _redirect("https", name, target(route, front))


def _plain_routes(routes: tuple[Route, ...], front: Front, abilities: Abilities, *, clean: bool) -> Iterator[Config]:
    host = "{http.request.host}" if front.https == 443 else f"{{http.request.host}}:{front.https}"
    to_tls = [_to(f"https://{host}")]
    alike: dict[bool, list[str]] = {True: [], False: []}  # by whether they are wildcards, which come after exact names
    for place in places(routes):
        routing, covers = place.route.routing, is_wildcard(place.name)
        if covers and alike[False]:
            yield _redirects(alike[False], to_tls, "exact")
            alike[False] = []
        if routing.tls == "off" or routing.http == "serve":
            yield _route("http", place, _handlers(place.route, front, abilities, secure=False, clean=clean))
        elif is_everything(place.below):
            alike[covers].append(place.name)
        else:
            yield _route("http", place, to_tls)
    for covers, names in alike.items():
        if names:
            yield _redirects(names, to_tls, "any" if covers else "exact")
    for name, route in redirected(routes):
        yield _redirect("http", name, target(route, front))


def _redirects(names: list[str], handlers: list[Config], which: str) -> Config:
    """Return the one route of all names that lead to TLS: with every route a change takes Caddy longer."""
    mark = f"{MARK}:http:to-tls:{which}"
    return {"@id": mark, "match": [{"host": sorted(names)}], "handle": handlers, "terminal": True}


def _route(scheme: str, place: Place, handlers: list[Config]) -> Config:
    match: Config = {"host": [place.name]}
    if not is_everything(place.below):
        match["path"] = [place.below, f"{place.below}/*"]
    mark = f"{MARK}:{scheme}:{place.name}{place.below}"
    return {"@id": _id(mark), "match": [match], "handle": [linked_names.in_order(handlers)], "terminal": True}


def _redirect(scheme: str, name: str, url: str) -> Config:
    mark = f"{MARK}:{scheme}:{name}"
    return {"@id": _id(mark), "match": [{"host": [name]}], "handle": [_to(url)], "terminal": True}


def _id(mark: str) -> str:
    """Return an id that can stand in a path of the admin API."""
    return mark.replace("/", "!").replace("*", "any")


def _to(url: str) -> Config:
    headers = {"Location": [f"{url}{{http.request.uri}}"]}
    return {"handler": "static_response", "status_code": 308, "headers": headers}


def _handlers(route: Route, front: Front, abilities: Abilities, *, secure: bool, clean: bool) -> list[Config]:
    """Return what is done with a request of an app, in order; each element is a handler or a route."""
    routing = route.routing
    handlers: list[Config] = []
    if routing.allow_from:
        matcher = {"client_ip" if abilities.knows_client else "remote_ip": {"ranges": [*routing.allow_from]}}
        refusal = {"handler": "static_response", "status_code": 403}
        handlers.append({"match": [{"not": [matcher]}], "handle": [refusal], "terminal": True})
    if routing.hsts_s is not None and secure:
        value = [f"max-age={routing.hsts_s:.0f}"]
        handlers.append({"handler": "headers", "response": {"set": {"Strict-Transport-Security": value}}})
    if route.accounts is not None:
        accounts = [{"username": name, "password": hashed} for name, hashed in route.accounts]
        basic = {"hash": {"algorithm": "bcrypt"}, "accounts": accounts}
        handlers.append({"handler": "authentication", "providers": {"http_basic": basic}})
    if routing.body_limit is not None:
        handlers.append({"handler": "request_body", "max_size": routing.body_limit})
    if route.stopped:
        return [*handlers, {"handler": "static_response", "status_code": 503, "body": "This app is stopped.\n"}]
    if route.files:
        handlers += caddy_handlers(route.files, routing)
    proxied = _proxied(route, front, abilities, clean=clean)
    if abilities.buffers_bodies:
        if secure:  # what is a body there would be a websocket's first 256 KiB
            handlers.append({"match": [{"method": ["CONNECT"]}], "handle": [proxied], "terminal": True})
        proxied = {**proxied, "request_buffers": _MOST_BUFFERED}
    return [*handlers, proxied]


def _proxied(route: Route, front: Front, abilities: Abilities, *, clean: bool) -> Config:
    routing = route.routing
    headers: dict[str, list[str]] = {}
    if route.entry is not None:
        headers["Host"] = ["{http.request.hostport}"]  # a Caddy of today has that of the upstream instead, with TLS
    if route.key:
        client = "{http.vars.client_ip}" if abilities.knows_client else "{http.request.remote.host}"
        headers[CLIENT_HEADER] = [f"{route.key} {client}"]
    if front.trusted and abilities.knows_client:
        # Not the whole chain, of which programs take the one end or the other: both are the client then.
        headers["X-Forwarded-For"] = ["{http.vars.client_ip}"]
    handler: Config = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": route.upstream}],
        "transport": _transport(route.entry, routing),
        "load_balancing": {
            "try_duration": int(route.patience_s * _SECOND),
            "try_interval": int(_RETRY_EVERY_S * _SECOND),
        },
    }
    if routing.strip and not is_everything(routing.below) and not (route.entry is not None and route.entry.routed):
        headers[PREFIX_HEADER] = [routing.below]
        handler["rewrite"] = {"strip_path_prefix": routing.below}
    request: Config = {"set": headers} if headers else {}
    if not clean:
        request["delete"] = [_WITH_UNDERSCORE, *(name for name in _FORGED if name not in headers)]
    if request:
        handler["headers"] = {"request": request}
    if abilities.keeps_streams:
        handler["stream_close_delay"] = _KEEP_STREAMS_S * _SECOND
    if front.trusted and not abilities.knows_client:
        handler["trusted_proxies"] = [*front.trusted]
    return handler


def _transport(entry: Entry | None, routing: Routing) -> Config:
    """Return how a proxy connects; a cluster chooses the certificate by the name that it is asked for."""
    transport: Config = {"protocol": "http", "keep_alive": {"enabled": False}}
    if routing.answer_timeout_s is not None:
        transport["response_header_timeout"] = int(routing.answer_timeout_s * _SECOND)
    if entry is not None and entry.tls:
        trust = {"root_ca_pem_files": [entry.ca]} if entry.ca else {}
        transport |= {"tls": {"server_name": "{http.request.host}", **trust}, "versions": ["1.1"]}
    return transport


def _any_handlers(front: Front, abilities: Abilities) -> list[Config]:
    return _handlers(linked_names.any_route(), front, abilities, secure=True, clean=True)


def _trusted(front: Front, abilities: Abilities) -> Config:
    if not front.trusted or not abilities.knows_client:
        return {}
    return {"trusted_proxies": {"source": "static", "ranges": [*front.trusted]}, "trusted_proxies_strict": 1}


def _log_writer(log: str) -> Config:
    return {"output": "file", "filename": log, "roll_size_mb": 10, "roll_keep": 3}


def _within(config: Config, *path: str) -> Config:
    """Return the mapping at a path, {} where there is none: an operator's configuration may have null at any step."""
    for name in path:
        found = config.get(name)
        config = found if isinstance(found, dict) else {}
    return config


def _child(parent: Config, name: str) -> Config:
    """Return a mapping below another, as a copy that is in its place."""
    child: Config = dict(parent.get(name) or {})
    parent[name] = child
    return child


def _unmarked(value: Any) -> Any:
    """Return a copy of JSON data without the objects of lists that are ours."""
    if isinstance(value, Mapping):
        return {name: _unmarked(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_unmarked(part) for part in value if not _is_ours(part)]
    return value


def _is_ours(part: object) -> bool:
    return isinstance(part, Mapping) and str(part.get("@id", "")).startswith(f"{MARK}:")


def _prune(left: Config, path: tuple[str, ...], *, of: Config) -> None:
    """Remove what is empty at a path because all of it was ours; what was empty before stays."""
    chain: list[tuple[Config, str]] = []
    node: Any = left
    before: Any = of
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return
        chain.append((node, name))
        node = node[name]
        before = before[name]
    if not before:  # the operator's own
        return
    for parent, name in reversed(chain):
        if parent[name]:
            return
        del parent[name]
