"""Read what the proxy is to do for an app from a valid document, and say what is wrong with it beyond its schema."""

import ipaddress
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import size_bytes
from reconciler.planning.routing.domain_names import domain_name, is_private, is_wildcard
from reconciler.planning.routing.routing import Certificate, Routing

# What says something about domains, and nothing without them.
FIELDS = (
    "redirects", "below", "strip", "tls", "http", "hsts", "body_limit", "answer_timeout", "login", "allow_from",
    "static",
)  # fmt: skip
_STATIC_PATH = re.compile(r"/|(/[A-Za-z0-9_.~-]+)+")
_LISTS = ("domains", "redirects")
_MAY_BE_NO_WILDCARD = "is a wildcard, from which nothing leads: list the names that lead to the first domain"


def routing_of(directory: str, tree: Node, given: dict[str, Any], domain: str) -> Routing:
    """Return the routing of an app; `domain` is its one domain where the document has none."""
    from reconciler.manifests.app_document import joined

    tls = given.get("tls", "auto")
    if isinstance(tls, dict):
        files = [joined(directory, tls[part]["file"]) for part in ("certificate", "key")]
        certificate, tls = Certificate(chain=files[0], key=files[1]), "files"
    else:
        certificate = None
    below = str(given.get("below", "/"))
    return Routing(
        domains=tuple(map(domain_name, given.get("domains", [domain]))),
        redirects=tuple(map(domain_name, given.get("redirects", ()))),
        below=below.rstrip("/") or "/",
        strip=given.get("strip", False),
        tls=tls,
        certificate=certificate,
        http=given.get("http", "redirect"),
        hsts_s=tree.seconds("hsts"),
        body_limit=size_bytes(tree.written_at("body_limit")) if "body_limit" in given else None,
        answer_timeout_s=tree.seconds("answer_timeout"),
        login=joined(directory, given["login"]["file"]) if "login" in given else None,
        allow_from=tuple(str(ipaddress.ip_network(each, strict=False)) for each in given.get("allow_from", ())),
        static=tuple(sorted((_path(path), posixpath.normpath(each)) for path, each in given.get("static", {}).items())),
    )


def routing_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the domains of a document and with how they are to be served."""
    if "domains" not in tree.keys:
        for field in FIELDS:
            if field in tree.keys:
                yield (field,), "requires 'domains': it says how a proxy serves them"
        return
    yield from _name_problems(tree)
    yield from _network_problems(tree)
    yield from _static_problems(tree)
    first = next(iter(tree.parts["domains"].parts.values()), None)
    if first is not None and str(first.value).startswith("*.") and "redirects" in tree.keys:
        yield ("redirects",), "requires a first domain that is no wildcard: that is where they lead to"
    if (limit := tree.given("body_limit")) is not None and _is_zero(str(limit.written)):
        yield ("body_limit",), "must be greater than zero"
    tls = tree.given("tls")
    for field in ("http", "hsts") if tls is not None and tls.value == "off" else ():
        if field in tree.keys:
            yield (field,), "has no meaning with 'tls: off'"
    if "strip" in tree.keys and "below" not in tree.keys:
        yield ("strip",), "requires 'below': the path that is taken off"


def _name_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    seen: dict[str, str] = {}
    for field in _LISTS:
        node = tree.given(field)
        for index, part in node.parts.items() if node else ():
            if not isinstance(part.value, str):
                continue  # the schema says so
            try:
                name = domain_name(part.value)
            except ValueError as error:
                yield (field, index), f"'{part.value[:64]}' {error}"
                continue
            if name in seen:
                yield (field, index), f"'{name}' is listed in {seen[name]} already"
            elif message := _wildcard_problem(tree, field, name):
                yield (field, index), message
            seen.setdefault(name, field)


def _wildcard_problem(tree: Node, field: str, name: str) -> str:
    tls = tree.given("tls")
    if not is_wildcard(name):
        return ""
    if field == "redirects":
        return _MAY_BE_NO_WILDCARD
    if (tls is None or tls.value == "auto") and not is_private(name):
        return (
            f"'{name}' is a wildcard, for which the proxy gets no certificate by itself:"
            " set 'tls: {certificate: {file: …}, key: {file: …}}', or 'tls: internal'"
        )
    return ""


def _network_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    networks = tree.given("allow_from")
    for index, part in networks.parts.items() if networks else ():
        try:
            ipaddress.ip_network(str(part.value), strict=False)
        except ValueError:
            message = f"expected an address or a network, such as 10.0.0.0/8, not {str(part.value)[:64]!r}"
            yield ("allow_from", index), message


def _static_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    static = tree.given("static")
    seen: dict[str, str] = {}
    for written, part in static.parts.items() if static else ():
        path, directory = _path(str(written)), str(part.value)
        if not _STATIC_PATH.fullmatch(path) or {".", ".."} & {*path.split("/")}:
            yield ("static", written), "expected a path of the app's, such as /static: letters, digits and _.~-"
        elif path in seen:
            yield ("static", written), f"'{seen[path]}' is the same path"
        elif posixpath.isabs(directory) or posixpath.normpath(directory).split("/")[0] in {".", ".."}:
            yield ("static", written), "expected a directory of the app's source or build, such as staticfiles"
        elif any(name.startswith(".") for name in posixpath.normpath(directory).split("/")):
            yield ("static", written), "has a name that begins with a dot, and no such file is served"
        elif _is_persisted(tree, directory):
            yield ("static", written), "is persisted, and so no part of the build: leave it to the app"
        seen.setdefault(path, str(written))


def _is_persisted(tree: Node, directory: str) -> bool:
    persist = tree.given("persist")
    kept = (posixpath.normpath(str(part.value)) for part in (persist.parts.values() if persist else ()))
    return any(f"{posixpath.normpath(directory)}/".startswith(f"{each}/") for each in kept)


def _path(written: str) -> str:
    return written.rstrip("/") or "/"


def _is_zero(size: str) -> bool:
    try:
        return size_bytes(size) == 0
    except ValueError:  # the schema says so
        return False
