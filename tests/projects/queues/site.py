"""The web process of every queue's project: `/ID/SECONDS` enqueues a task, `/` says which version serves."""

from pathlib import Path
from typing import Any

import tasks


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"].strip("/")
    if path:
        name, _, seconds = path.partition("/")
        tasks.enqueue(name, float(seconds))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [Path(__file__).with_name("version").read_bytes()]
