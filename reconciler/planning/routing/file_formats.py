"""Make the configuration of a proxy that is told by a file: nginx, HAProxy, Traefik.

Every value is of a grammar without quotes, blanks, `$` and control characters, and stands in quotes all the same where
the format has them; a value that does not is refused, so that no byte of one ends up outside its string.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.planning.routing.domain_names import ANY
from reconciler.planning.routing.route import (
    CLIENT_HEADER,
    FORGEABLE_HEADERS,
    PREFIX_HEADER,
    Front,
    Place,
    Route,
    is_everything,
    owner,
    places,
    redirected,
    target,
)
from reconciler.planning.routing.static_files import nginx_app, nginx_lines, nginx_map, paths_of, under

_HEAD = "# Written by reconciler from the manifests of this host; edits are overwritten."
_WORD = re.compile(r"[A-Za-z0-9_.:/\[\]*~+@=,-]+")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_.:/~+@=, -]*")
_LONGEST_ANSWER_S = 86400  # where a format has a limit of its own that cannot be turned off


class Unquotable(ValueError):
    """A value that a format cannot hold for certain."""


def text_of(format_name: str, routes: tuple[Route, ...], front: Front) -> str:
    """Return the file of a format: nginx, haproxy or traefik. Raises Unquotable."""
    return _FORMATS[format_name](routes, front)


def is_plain_path(path: str) -> bool:
    """Return whether every format can hold a path."""
    return _PLAIN_PATH.fullmatch(path) is not None


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise Unquotable(f"{text!r} cannot stand in the configuration of a proxy")
    return text


def _path(text: str) -> str:
    if not is_plain_path(text):
        raise Unquotable(f"{text!r} cannot stand in the configuration of a proxy")
    return f'"{text}"'


def _is_secure(route: Route) -> bool:
    """Return whether there is a certificate: these proxies get none by themselves."""
    return route.routing.tls != "off" and route.routing.certificate is not None and bool(route.certificate_id)


def _servers(routes: tuple[Route, ...]) -> Mapping[str, list[Place]]:
    """Return the places of each name, the longest path first."""
    found: dict[str, list[Place]] = {}
    for place in places(routes):
        found.setdefault(place.name, []).append(place)
    return found


# nginx


def _nginx(routes: tuple[Route, ...], front: Front) -> str:
    lines = [_HEAD, "map $http_upgrade $reconciler_connection {", "    default upgrade;", '    "" "";', "}"]
    if any(route.files for route in routes):
        lines += nginx_map()
    for name, at in _servers(routes).items():
        first = at[0].route
        secure = _is_secure(first)
        if secure:
            lines += ["server {", *_listens(front, front.https, " ssl"), f"    server_name {_word(name)};"]
            lines += _nginx_certificate(first)
            hsts = _nginx_hsts(first)
            lines += [f"    {line}" for line in hsts]
            lines += [line for place in at for line in _nginx_locations(place, at, front, hsts)]
            lines.append("}")
        lines += ["server {", *_listens(front, front.http, ""), f"    server_name {_word(name)};"]
        if secure and first.routing.http == "redirect":
            port = "" if front.https == 443 else f":{front.https}"
            lines.append(f"    return 308 https://$host{port}$request_uri;")
        else:
            lines += [line for place in at for line in _nginx_locations(place, at, front, ())]
        lines.append("}")
    for name, route in redirected(routes):
        secure = _is_secure(route)
        lines += ["server {", *_listens(front, front.http, "")]
        if secure:
            lines += [*_listens(front, front.https, " ssl"), *_nginx_certificate(route)]
        url = target(route, front) if secure else front.url(route.routing.domains[0], tls=False)
        lines += [f"    server_name {_word(name)};", f"    return 308 {_word(url)}$request_uri;", "}"]
    return "\n".join([*lines, ""])


def _listens(front: Front, port: int, suffix: str) -> list[str]:
    if front.address:
        return [f"    listen {_word(front.listen(port))}{suffix};"]
    return [f"    listen {port}{suffix};", f"    listen [::]:{port}{suffix};"]


def _nginx_certificate(route: Route) -> list[str]:
    certificate = route.routing.certificate
    assert certificate is not None
    return [
        f"    ssl_certificate {_path(certificate.chain)};",
        f"    ssl_certificate_key {_path(certificate.key)};",
        f"    # of {_word(route.certificate_id)}",
    ]


def _nginx_hsts(route: Route) -> tuple[str, ...]:
    limit_s = route.routing.hsts_s
    return () if limit_s is None else (f'add_header Strict-Transport-Security "max-age={limit_s:.0f}" always;',)


def _nginx_locations(place: Place, at: list[Place], front: Front, hsts: tuple[str, ...]) -> Iterator[str]:
    """Yield the locations of an app at a name; `at` are all places of the name."""
    route = place.route
    # A path ends at a slash: /api is no part of /apiary.
    forms = ["/"] if is_everything(place.below) else [f"= {_word(place.below)}", f"{_word(place.below)}/"]
    if route.stopped:
        for form in forms:
            yield from _block(form, [_nginx_body_limit(route), "return 503;"])
        return
    access = [_nginx_body_limit(route), *_nginx_access(route, front)]
    app = [*access, *_nginx_prefix(place), *_nginx_proxy(route)]
    if not route.files:
        for form in forms:
            yield from _block(form, app)
        return
    # A header of a location takes the place of those of its server.
    _path(route.files)
    files = [*access, *nginx_lines(route.files, _word(route.app)), *hsts]
    paths = [_word(path) for path in paths_of(route.routing)]
    for form in forms:
        yield from _block(form, files if place.below in paths else app)
    for path in paths:
        if path != place.below and owner(path, at) is place:
            yield from _block(under(path), files)
    yield from _block(nginx_app(route.app), app)


def _block(form: str, lines: list[str]) -> Iterator[str]:
    yield f"    location {form} {{"
    yield from (f"        {line}" for line in lines)
    yield "    }"


def _nginx_body_limit(route: Route) -> str:
    return f"client_max_body_size {route.routing.body_limit or 0};"


def _nginx_access(route: Route, front: Front) -> Iterator[str]:
    routing = route.routing
    for network in routing.allow_from:
        yield f"allow {_word(network)};"
    if routing.allow_from:
        yield "deny all;"
    if routing.login is not None:
        yield 'auth_basic "login";'
        yield f"auth_basic_user_file {_path(routing.login)};"
    for network in front.trusted:
        yield f"set_real_ip_from {_word(network)};"
    if front.trusted:
        yield "real_ip_header X-Forwarded-For;"
        yield "real_ip_recursive on;"


def _nginx_prefix(place: Place) -> Iterator[str]:
    if place.route.routing.strip and not is_everything(place.below):
        yield f"rewrite ^{re.escape(place.below)}/?(.*)$ /$1 break;"
        yield f'proxy_set_header {PREFIX_HEADER} "{_word(place.below)}";'
    else:
        yield f'proxy_set_header {PREFIX_HEADER} "";'


def _nginx_proxy(route: Route) -> Iterator[str]:
    limit_s = route.routing.answer_timeout_s
    path = route.upstream.removeprefix("unix/")
    upstream = _word(route.upstream) if path == route.upstream else f"unix:{_word(path)}"
    yield f"proxy_pass http://{upstream};"
    yield "proxy_http_version 1.1;"
    yield "proxy_set_header Host $http_host;"
    yield "proxy_set_header Upgrade $http_upgrade;"
    yield "proxy_set_header Connection $reconciler_connection;"
    yield "proxy_set_header X-Forwarded-For $remote_addr;"
    yield "proxy_set_header X-Forwarded-Proto $scheme;"
    yield "proxy_set_header X-Forwarded-Host $http_host;"
    for name in FORGEABLE_HEADERS:
        yield f'proxy_set_header {name} "";'
    yield f'proxy_set_header {CLIENT_HEADER} "{_word(route.key)} $remote_addr";'
    yield f"proxy_read_timeout {limit_s or _LONGEST_ANSWER_S:.0f}s;"
    yield "proxy_buffering off;"
    yield "proxy_request_buffering off;"


# HAProxy


def _haproxy(routes: tuple[Route, ...], front: Front) -> str:
    chains = sorted(
        {each.routing.certificate.chain for each in routes if each.routing.certificate and _is_secure(each)}
    )
    lines = [
        _HEAD,
        "defaults reconciler",
        "    mode http",
        "    option http-keep-alive",
        "    option forwardfor",
        "    timeout connect 5s",
        "    timeout client 1h",
        "    timeout server 1h",
        "    timeout tunnel 24h",
        "    retries 3",
        "",
        "frontend reconciler from reconciler",
        f"    bind {_haproxy_address(front, front.http)}",
    ]
    if chains:
        crt = " ".join(f"crt {_path(chain)}" for chain in chains)
        lines.append(f"    bind {_haproxy_address(front, front.https)} ssl {crt} alpn h2,http/1.1")
    forged = ("X-Forwarded-For", "X-Forwarded-Host", PREFIX_HEADER, *FORGEABLE_HEADERS)
    lines += [f"    http-request del-header {header}" for header in forged]
    lines.append("    http-request del-header _ -m sub")  # which WSGI takes for "-"
    lines.append("    http-request set-header X-Forwarded-Host %[req.hdr(host)]")
    lines.append("    http-request set-header X-Forwarded-Proto https if { ssl_fc }")
    lines.append("    http-request set-header X-Forwarded-Proto http if !{ ssl_fc }")
    rules: list[str] = []
    for name, route in redirected(routes):
        secure = _is_secure(route)
        url = target(route, front) if secure else front.url(route.routing.domains[0], tls=False)
        lines.append(f"    http-request redirect prefix {_word(url)} code 308 if {_haproxy_host(name)}")
    for name, at in _servers(routes).items():
        first = at[0].route
        if _is_secure(first) and first.routing.http == "redirect":
            port = "" if front.https == 443 else f":{front.https}"
            url = f"https://%[req.hdr(host),field(1,:)]{port}%[capture.req.uri]"
            lines.append(f"    http-request redirect location {url} code 308 if !{{ ssl_fc }} {_haproxy_host(name)}")
        for place in at:
            path = "" if is_everything(place.below) else f" {{ path {_word(place.below)} }}"
            below = "" if is_everything(place.below) else f" {{ path_beg {_word(place.below)}/ }}"
            rules += [
                f"    use_backend reconciler-{_word(place.route.app)} if {_haproxy_host(name)}{each}"
                for each in dict.fromkeys((path, below))
            ]
    lines += rules
    for route in routes:
        lines += _haproxy_backend(route)
    return "\n".join([*lines, ""])


def _haproxy_address(front: Front, port: int) -> str:
    return _word(front.listen(port)) if front.address else f":::{port} v4v6"


def _haproxy_host(name: str) -> str:
    if name.startswith(ANY):
        return f"{{ req.hdr(host),field(1,:),lower -m reg ^[^.]+{re.escape(name[1:])}$ }}"
    return f"{{ req.hdr(host),field(1,:),lower -m str {_word(name)} }}"


def _haproxy_backend(route: Route) -> Iterator[str]:
    routing = route.routing
    yield ""
    if route.accounts is not None:
        yield f"userlist reconciler-{_word(route.app)}"
        for user, hashed in route.accounts:
            yield f"    user {_word(user)} password '{hashed}'"
        yield ""
    yield f"backend reconciler-{_word(route.app)} from reconciler"
    if routing.allow_from:
        yield f"    http-request deny unless {{ src {' '.join(map(_word, routing.allow_from))} }}"
    if route.accounts is not None:
        yield f"    http-request auth unless {{ http_auth(reconciler-{_word(route.app)}) }}"
    if routing.body_limit is not None:
        yield f"    http-request deny status 413 if {{ req.hdr(content-length),add(0) gt {routing.body_limit} }}"
    if routing.hsts_s is not None:
        yield f"    http-response set-header Strict-Transport-Security max-age={routing.hsts_s:.0f} if {{ ssl_fc }}"
    if route.stopped:
        yield "    http-request deny status 503"
        return
    yield f'    http-request set-header {CLIENT_HEADER} "{_word(route.key)} %[src]"'
    if routing.strip and not is_everything(routing.below):
        yield f"    http-request set-header {PREFIX_HEADER} {_word(routing.below)}"
        yield f"    http-request replace-path ^{re.escape(routing.below)}/?(.*) /\\1"
    if routing.answer_timeout_s is not None:
        yield f"    timeout server {routing.answer_timeout_s:.0f}s"
    yield "    http-reuse never"
    path = route.upstream.removeprefix("unix/")
    yield f"    server app {_word(route.upstream) if path == route.upstream else f'unix@{_word(path)}'}"


# Traefik


def _traefik(routes: tuple[Route, ...], front: Front) -> str:
    """Return JSON, which is YAML as well: its strings need no quoting of ours."""
    routers: dict[str, Any] = {}
    middlewares: dict[str, Any] = {}
    for place in places(routes):
        route, routing = place.route, place.route.routing
        rule = _traefik_host(place.name)
        if not is_everything(place.below):
            rule += f" && (Path(`{_word(place.below)}`) || PathPrefix(`{_word(place.below)}/`))"
        chain = _traefik_middlewares(route, middlewares)
        service = f"reconciler-{route.app}"
        key = f"reconciler-{len(routers)}"
        base = {"rule": rule, "service": service, "priority": 1000 * (not place.name.startswith(ANY)) + len(rule)}
        if routing.tls == "off" or routing.http == "serve":
            routers[f"{key}-http"] = {**base, "entryPoints": ["web"], "middlewares": chain}
        else:
            middlewares["reconciler-tls"] = {
                "redirectScheme": {"scheme": "https", "permanent": True, "port": str(front.https)}
            }
            routers[f"{key}-http"] = {**base, "entryPoints": ["web"], "middlewares": ["reconciler-tls"]}
        if routing.tls != "off":
            routers[key] = {**base, "entryPoints": ["websecure"], "middlewares": chain, "tls": {}}
    for name, route in redirected(routes):
        key = f"reconciler-{len(routers)}"
        middlewares[key] = {
            "redirectRegex": {
                "regex": "^https?://[^/]+/(.*)",
                "replacement": f"{target(route, front)}/${{1}}",
                "permanent": True,
            }
        }
        points = ["web"] if route.routing.tls == "off" else ["web", "websecure"]
        routers[key] = {
            "rule": _traefik_host(name),
            "entryPoints": points,
            "middlewares": [key],
            "service": f"reconciler-{route.app}",
            **({"tls": {}} if points[-1] == "websecure" else {}),
        }
    certificates = [
        {"certFile": chain, "keyFile": key}
        for chain, key in sorted(
            {
                (each.routing.certificate.chain, each.routing.certificate.key)
                for each in routes
                if each.routing.certificate
            }
        )
    ]
    services = {
        f"reconciler-{route.app}": {"loadBalancer": {"servers": [{"url": f"http://{_word(route.upstream)}"}]}}
        for route in routes
    }
    config: dict[str, Any] = {"http": {"routers": routers, "services": services}}
    if middlewares:
        config["http"]["middlewares"] = middlewares
    if certificates:
        config["tls"] = {"certificates": certificates}
    return f"{_HEAD}\n{json.dumps(config, indent=1, sort_keys=True)}\n" if routers else f"{_HEAD}\n{{}}\n"


def _traefik_host(name: str) -> str:
    if name.startswith(ANY):
        return f"HostRegexp(`^[^.]+{re.escape(_word(name)[1:])}$`)"
    return f"Host(`{_word(name)}`)"


def _traefik_middlewares(route: Route, middlewares: dict[str, Any]) -> list[str]:
    routing = route.routing
    made: dict[str, Any] = {}
    if routing.allow_from:
        made["allow"] = {"ipAllowList": {"sourceRange": [*routing.allow_from]}}
    if route.accounts is not None:
        made["login"] = {"basicAuth": {"users": [f"{user}:{hashed}" for user, hashed in route.accounts]}}
    if routing.body_limit is not None:
        made["body"] = {"buffering": {"maxRequestBodyBytes": routing.body_limit}}
    if routing.hsts_s is not None:
        made["hsts"] = {"headers": {"stsSeconds": int(routing.hsts_s)}}
    if routing.strip and not is_everything(routing.below):
        made["strip"] = {"stripPrefix": {"prefixes": [routing.below]}}
    named = {f"reconciler-{route.app}-{name}": middleware for name, middleware in made.items()}
    middlewares.update(named)
    return [*named]


_FORMATS: Mapping[str, Callable[[tuple[Route, ...], Front], str]] = {
    "nginx": _nginx, "haproxy": _haproxy, "traefik": _traefik,
}  # fmt: skip
