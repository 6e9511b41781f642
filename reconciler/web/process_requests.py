"""Requests about one process of an app, as the API and the page take them: restart, stop or start it."""

from collections.abc import Mapping
from typing import Any

from reconciler.control.requests import PROCESS_REQUESTS
from reconciler.documents.names import is_name, is_process_name
from reconciler.web.responses import Problem


def process_request(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as the daemon takes it; raises Problem."""
    do, app, process = content.get("do"), content.get("app"), content.get("process")
    if not isinstance(do, str) or do not in PROCESS_REQUESTS:
        raise Problem(422, f"'do' must be one of {', '.join(PROCESS_REQUESTS)} for a process")
    if content.keys() != {"do", "app", "process"}:
        raise Problem(422, f'expected {{"do": "{do}", "app": …, "process": …}}')
    if not isinstance(app, str) or not is_name(app):
        raise Problem(422, "'app' must be the name of an app")
    if not isinstance(process, str) or not is_process_name(process):
        raise Problem(422, "'process' must be the name of a process")
    return dict(content)
