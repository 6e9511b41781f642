"""Read and check the field `canary` of an app."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.planning.canary.canary import Canary

_DEFAULT = Canary(share=(50,))


def canary_of(node: Node | None) -> Canary | None:
    """Return the canary of a document that has no problem, None without one."""
    if node is None or not isinstance(node.value, dict):
        return None
    given: dict[str, Any] = node.value
    for_s = node.seconds("for")
    workers = given.get("workers")
    return Canary(
        share=tuple(map(_thousandths, _shares(node))),
        for_s=_DEFAULT.for_s if for_s is None else for_s,
        by=given.get("by", _DEFAULT.by),
        requests=int(given.get("requests", _DEFAULT.requests)),
        undecided=given.get("undecided", _DEFAULT.undecided),
        worse=int(str(given["worse"]).removesuffix("x")) if "worse" in given else _DEFAULT.worse,
        workers=None if workers is None else int(workers),
    )


def problems_of_canary(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with a canary beyond the schema."""
    node, app = tree.given("canary"), tree.value
    if node is None or not isinstance(node.value, dict) or not isinstance(app, dict):
        return
    if app.get("web") is False:
        yield ("canary",), "an app without a web server (web: false) has no connections to divide"
    shares = list(map(_thousandths, _shares(node)))
    if any(later <= share for share, later in pairwise(shares)):
        yield ("canary", "share"), "each step must be more than the one before it"


def _shares(node: Node) -> list[str]:
    written = node.parts["share"].written if "share" in node.parts else None
    return [str(each) for each in written] if isinstance(written, list) else [] if written is None else [str(written)]


def _thousandths(share: str) -> int:
    """Return a share of connections in thousandths, 0 for what the schema refuses."""
    try:
        return round(float(share.strip().removesuffix("%")) * 10)
    except (ValueError, OverflowError):
        return 0
