"""Read the clusters from the settings file, and say what is wrong with them beyond their schema."""

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import duration_s
from reconciler.planning.apps.app import HERE
from reconciler.settings.clusters import Cluster

_MOST_DRAIN_S = 600


def clusters_of(file: str, node: Node) -> Mapping[str, Cluster]:
    """Return the clusters of settings without a problem, by name."""
    return {str(name): _cluster(file, str(name), part) for name, part in node.parts.items()}


def cluster_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield the problems of clusters that a schema cannot express."""
    node = tree.parts["clusters"]
    for name, part in node.parts.items():
        if name == HERE:
            yield ("clusters", name), "is the place of apps that run on this host: choose another name"
        drain = part.given("drain")
        seconds = None if drain is None else part.seconds("drain")
        if seconds is not None and (seconds % 1 or seconds > _MOST_DRAIN_S):
            yield ("clusters", name, "drain"), f"expected whole seconds, at most {_MOST_DRAIN_S}"
        entry = part.given("entry")
        if entry is not None and entry.value == "ingress" and part.given("route", "ingress_class") is None:
            yield ("clusters", name, "entry"), "'ingress' takes 'route.ingress_class': its apps have no Ingress"
        proxy, kind = tree.given("proxy"), tree.given("proxy", "type")
        if entry is not None and (proxy is None or (kind is not None and kind.value == "files")):
            yield ("clusters", name, "entry"), "takes a 'proxy' of this host that is a Caddy, which leads domains there"
        if part.given("route", "gateway") is not None and part.given("route", "ingress_class") is not None:
            yield ("clusters", name, "route"), "expected 'gateway' or 'ingress_class', not both"


def _cluster(file: str, name: str, node: Node) -> Cluster:
    given: dict[str, Any] = node.value  # type: ignore[assignment]  # the schema has seen to it
    directory = FilePath(posixpath.dirname(file))
    drain, overlap, route = node.given("drain"), node.given("overlap"), given.get("route", {})
    bases = node.given("bases")
    default = Cluster(name=name, kubeconfig=directory, namespace="", registry="")
    return Cluster(
        name=name,
        kubeconfig=directory / given["kubeconfig"],
        context=given.get("context", ""),
        namespace=given["namespace"],
        registry=given["registry"].rstrip("/"),
        registry_auth=_file(directory, given.get("registry_auth")),
        registry_ca=_file(directory, given.get("registry_ca")),
        plain_http=given.get("plain_http", False),
        bases={
            str(python).removeprefix("python"): str(directory / str(part.value))
            for python, part in (bases.parts.items() if bases is not None else ())
        },
        pull_secret=given.get("pull_secret", ""),
        gateway=route.get("gateway", ""),
        ingress_class=route.get("ingress_class", ""),
        drain_s=default.drain_s if drain is None else int(duration_s(str(drain.written))),
        overlap_s=default.overlap_s if overlap is None else duration_s(str(overlap.written)),
        spread=given.get("spread", default.spread),
        force=given.get("force", default.force),
        entry=given.get("entry", default.entry).rstrip("/"),
        entry_ca=_file(directory, given.get("entry_ca")),
    )


def _file(directory: FilePath, given: Any) -> FilePath | None:
    return None if given is None else directory / given["file"]
