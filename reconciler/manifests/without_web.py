"""Check a manifest that says `web: false`: what it has to run instead, and that nothing in it is for a web server."""

from collections.abc import Iterator

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node

_OF_THE_WEB = (
    "entrypoint", "command", "listen", "port", "host", "domains", "redirects", "below", "strip", "tls", "http", "hsts",
    "body_limit", "answer_timeout", "login", "allow_from", "workers", "threads", "worker_class", "gunicorn", "health",
    "instances", "stop_timeout", "idle_after", "start", "patience", "holding_page", "access_log",
    "static",
)  # fmt: skip


def problems_without_web(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with a document of an app that has no web server; nothing if it has one."""
    web = tree.given("web")
    if web is None or web.value is not False:
        return
    if not any((given := tree.given(field)) is not None and given.keys for field in ("processes", "schedules")):
        yield ("web",), "false requires 'processes' or 'schedules': nothing of the app would run"
    for field in _OF_THE_WEB:
        if field in tree.keys:
            yield (
                (field,),
                f"is for a web server, which this app does not have: remove one of '{field}' and 'web: false'",
            )
    state = tree.given("state")
    if state is not None and state.value == "maintenance":
        yield ("state",), "maintenance is for a web server, which this app does not have (web: false); expected stopped"
