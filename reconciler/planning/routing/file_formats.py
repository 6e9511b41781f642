"""Make the configuration of a proxy that is told by a file: nginx, HAProxy, Traefik."""

import re
from collections.abc import Callable, Iterator, Mapping

from reconciler.planning.routing.domain_names import ANY
from reconciler.planning.routing.file_words import HEAD, path_of, word
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
from reconciler.planning.routing.traefik_file import traefik

_LONGEST_ANSWER_S = 86400  # where a format has a limit of its own that cannot be turned off


def text_of(format_name: str, routes: tuple[Route, ...], front: Front) -> str:
    """Return the file of a format: nginx, haproxy or traefik. Raises Unquotable."""
    return _FORMATS[format_name](routes, front)


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
    lines = [HEAD, "map $http_upgrade $reconciler_connection {", "    default upgrade;", '    "" "";', "}"]
    if any(route.files for route in routes):
        lines += nginx_map()
    for name, at in _servers(routes).items():
        first = at[0].route
        secure = _is_secure(first)
        if secure:
            lines += ["server {", *_listens(front, front.https, " ssl"), f"    server_name {word(name)};"]
            lines += _nginx_certificate(first)
            hsts = _nginx_hsts(first)
            lines += [f"    {line}" for line in hsts]
            lines += [line for place in at for line in _nginx_locations(place, at, front, hsts)]
            lines.append("}")
        lines += ["server {", *_listens(front, front.http, ""), f"    server_name {word(name)};"]
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
        lines += [f"    server_name {word(name)};", f"    return 308 {word(url)}$request_uri;", "}"]
    return "\n".join([*lines, ""])


def _listens(front: Front, port: int, suffix: str) -> list[str]:
    if front.address:
        return [f"    listen {word(front.listen(port))}{suffix};"]
    return [f"    listen {port}{suffix};", f"    listen [::]:{port}{suffix};"]


def _nginx_certificate(route: Route) -> list[str]:
    certificate = route.routing.certificate
    assert certificate is not None
    return [
        f"    ssl_certificate {path_of(certificate.chain)};",
        f"    ssl_certificate_key {path_of(certificate.key)};",
        f"    # of {word(route.certificate_id)}",
    ]


def _nginx_hsts(route: Route) -> tuple[str, ...]:
    limit_s = route.routing.hsts_s
    return () if limit_s is None else (f'add_header Strict-Transport-Security "max-age={limit_s:.0f}" always;',)


def _nginx_locations(place: Place, at: list[Place], front: Front, hsts: tuple[str, ...]) -> Iterator[str]:
    """Yield the locations of an app at a name; `at` are all places of the name."""
    route = place.route
    # A path ends at a slash: /api is no part of /apiary.
    forms = ["/"] if is_everything(place.below) else [f"= {word(place.below)}", f"{word(place.below)}/"]
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
    path_of(route.files)
    files = [*access, *nginx_lines(route.files, word(route.app)), *hsts]
    paths = [word(path) for path in paths_of(route.routing)]
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
        yield f"allow {word(network)};"
    if routing.allow_from:
        yield "deny all;"
    if routing.login is not None:
        yield 'auth_basic "login";'
        yield f"auth_basic_user_file {path_of(routing.login)};"
    for network in front.trusted:
        yield f"set_real_ip_from {word(network)};"
    if front.trusted:
        yield "real_ip_header X-Forwarded-For;"
        yield "real_ip_recursive on;"


def _nginx_prefix(place: Place) -> Iterator[str]:
    if place.route.routing.strip and not is_everything(place.below):
        yield f"rewrite ^{re.escape(place.below)}/?(.*)$ /$1 break;"
        yield f'proxy_set_header {PREFIX_HEADER} "{word(place.below)}";'
    else:
        yield f'proxy_set_header {PREFIX_HEADER} "";'


def _nginx_proxy(route: Route) -> Iterator[str]:
    limit_s = route.routing.answer_timeout_s
    path = route.upstream.removeprefix("unix/")
    upstream = word(route.upstream) if path == route.upstream else f"unix:{word(path)}"
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
    yield f'proxy_set_header {CLIENT_HEADER} "{word(route.key)} $remote_addr";'
    yield f"proxy_read_timeout {limit_s or _LONGEST_ANSWER_S:.0f}s;"
    yield "proxy_buffering off;"
    yield "proxy_request_buffering off;"


# HAProxy


def _haproxy(routes: tuple[Route, ...], front: Front) -> str:
    chains = sorted(
        {each.routing.certificate.chain for each in routes if each.routing.certificate and _is_secure(each)}
    )
    lines = [
        HEAD,
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
        crt = " ".join(f"crt {path_of(chain)}" for chain in chains)
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
        lines.append(f"    http-request redirect prefix {word(url)} code 308 if {_haproxy_host(name)}")
    for name, at in _servers(routes).items():
        first = at[0].route
        if _is_secure(first) and first.routing.http == "redirect":
            port = "" if front.https == 443 else f":{front.https}"
            url = f"https://%[req.hdr(host),field(1,:)]{port}%[capture.req.uri]"
            lines.append(f"    http-request redirect location {url} code 308 if !{{ ssl_fc }} {_haproxy_host(name)}")
        for place in at:
            path = "" if is_everything(place.below) else f" {{ path {word(place.below)} }}"
            below = "" if is_everything(place.below) else f" {{ path_beg {word(place.below)}/ }}"
            rules += [
                f"    use_backend reconciler-{word(place.route.app)} if {_haproxy_host(name)}{each}"
                for each in dict.fromkeys((path, below))
            ]
    lines += rules
    for route in routes:
        lines += _haproxy_backend(route)
    return "\n".join([*lines, ""])


def _haproxy_address(front: Front, port: int) -> str:
    return word(front.listen(port)) if front.address else f":::{port} v4v6"


def _haproxy_host(name: str) -> str:
    if name.startswith(ANY):
        return f"{{ req.hdr(host),field(1,:),lower -m reg ^[^.]+{re.escape(name[1:])}$ }}"
    return f"{{ req.hdr(host),field(1,:),lower -m str {word(name)} }}"


def _haproxy_backend(route: Route) -> Iterator[str]:
    routing = route.routing
    yield ""
    if route.accounts is not None:
        yield f"userlist reconciler-{word(route.app)}"
        for user, hashed in route.accounts:
            yield f"    user {word(user)} password '{hashed}'"
        yield ""
    yield f"backend reconciler-{word(route.app)} from reconciler"
    if routing.allow_from:
        yield f"    http-request deny unless {{ src {' '.join(map(word, routing.allow_from))} }}"
    if route.accounts is not None:
        yield f"    http-request auth unless {{ http_auth(reconciler-{word(route.app)}) }}"
    if routing.body_limit is not None:
        yield f"    http-request deny status 413 if {{ req.hdr(content-length),add(0) gt {routing.body_limit} }}"
    if routing.hsts_s is not None:
        yield f"    http-response set-header Strict-Transport-Security max-age={routing.hsts_s:.0f} if {{ ssl_fc }}"
    if route.stopped:
        yield "    http-request deny status 503"
        return
    yield f'    http-request set-header {CLIENT_HEADER} "{word(route.key)} %[src]"'
    if routing.strip and not is_everything(routing.below):
        yield f"    http-request set-header {PREFIX_HEADER} {word(routing.below)}"
        yield f"    http-request replace-path ^{re.escape(routing.below)}/?(.*) /\\1"
    if routing.answer_timeout_s is not None:
        yield f"    timeout server {routing.answer_timeout_s:.0f}s"
    yield "    http-reuse never"
    path = route.upstream.removeprefix("unix/")
    yield f"    server app {word(route.upstream) if path == route.upstream else f'unix@{word(path)}'}"


_FORMATS: Mapping[str, Callable[[tuple[Route, ...], Front], str]] = {
    "nginx": _nginx, "haproxy": _haproxy, "traefik": traefik,
}  # fmt: skip
