"""Read the proxy from the settings file, and say what is wrong with it beyond its schema."""

import ipaddress
import posixpath
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import duration_s
from reconciler.planning.routing.route import Front
from reconciler.settings.proxy import Proxy, ProxyFile

_OF_FILES = ("format", "file", "check", "reload")
_OF_CADDY = ("run", "program", "admin", "email", "ca", "ca_root", "http3")


def proxy_of(file: str, node: Node) -> Proxy:
    """Return the proxy of settings without a problem."""
    given: dict[str, Any] = node.value  # type: ignore[assignment]  # the schema has seen to it
    root = given.get("ca_root", {}).get("file", "")
    default = Front()
    front = Front(
        http=given.get("http", default.http),
        https=given.get("https", default.https),
        address=given.get("address", ""),
        email=given.get("email", ""),
        ca=given.get("ca", ""),
        ca_root=str(FilePath(posixpath.dirname(file), root)) if root else "",
        trusted=tuple(str(ipaddress.ip_network(each, strict=False)) for each in given.get("trusted", ())),
        http3=given.get("http3", default.http3),
    )
    settle = node.given("settle")
    return Proxy(
        front=front,
        run=given.get("run", False),
        program=given.get("program", ""),
        admin=FilePath(given["admin"]) if "admin" in given else Proxy().admin,
        file=_file(given) if given.get("type") == "files" else None,
        domain=given.get("domain", ""),
        static=FilePath(given["static"]) if "static" in given else None,
        links=given.get("names") == "links",
        sockets=FilePath(given["sockets"]) if "sockets" in given else None,
        settle_s=Proxy().settle_s if settle is None else duration_s(str(settle.written)),
    )


def proxy_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield the problems of the proxy's settings that a schema cannot express."""
    node = tree.parts["proxy"]
    if not isinstance(node.value, dict):
        return
    for path, message in (*_misplaced(node), *_wrong(node, node.value)):
        yield ("proxy", *path), message


def _misplaced(node: Node) -> Iterator[tuple[Path, str]]:
    """Yield the settings that another kind of proxy has."""
    given: Any = node.value
    is_files = given.get("type") == "files"
    watches = given.get("format") == "traefik"
    for field in ("format", "file", "reload") if is_files else ():
        if field not in node.keys and not (watches and field == "reload"):
            yield ("type",), f"requires '{field}'"
    for field in _OF_CADDY if is_files else _OF_FILES:
        if field in node.keys:
            yield (field,), f"is for 'type: {'caddy' if is_files else 'files'}'"
    if given.get("run") is True and "admin" in node.keys:
        yield ("admin",), "is for a proxy of the host's: one that the daemon runs has a socket of its own"
    if "sockets" in node.keys:
        yield from _misplaced_sockets(given)
    yield from (((field,), "requires 'run: true'") for field in _misplaced_of_ours(node))
    if "static" in node.keys and given.get("run") is True:
        yield ("static",), "is for a proxy of the host's: one that the daemon runs reads its own directory"
    if "static" in node.keys and is_files and given.get("format") in {"haproxy", "traefik"}:
        yield ("static",), "is for Caddy and nginx: this proxy serves no files"


def _misplaced_of_ours(node: Node) -> Iterator[str]:
    """Yield the settings of a Caddy that the daemon runs, where it runs none."""
    given: Any = node.value
    return (field for field in ("program", "names") if field in node.keys and given.get("run") is not True)


def _misplaced_sockets(given: Any) -> Iterator[tuple[Path, str]]:
    if given.get("run") is True:
        yield ("sockets",), "is for a proxy of the host's: one that the daemon runs has them in the state directory"
    if given.get("format") == "traefik":
        yield ("sockets",), "is not for Traefik, which reaches ports only"


def _wrong(node: Node, given: Any) -> Iterator[tuple[Path, str]]:
    networks = node.given("trusted")
    for index, part in networks.parts.items() if networks else ():
        if not _is_network(str(part.value)):
            yield ("trusted", index), "expected an address or a network, such as 10.0.0.0/8"
    if "address" in node.keys and not _is_network(str(given["address"])):
        yield ("address",), "expected an IP address"
    if given.get("http", 80) == given.get("https", 443):
        yield ("https" if "https" in node.keys else "http",), "is the other port as well"


def _file(given: dict[str, Any]) -> ProxyFile:
    return ProxyFile(
        format=given["format"],
        path=FilePath(given["file"]),
        check=tuple(given.get("check", ())),
        reload=tuple(given.get("reload", ())),
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
