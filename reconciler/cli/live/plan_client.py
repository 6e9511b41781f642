"""Ask the daemon's API for the plan of an app: only the daemon knows its own settings."""

import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.linux.unix_sockets import reachable

_TIMEOUT_S = 25.0
NO_DAEMON = "no daemon is running; 'reconciler plan' shows what one would do"


def plan_of(api: Path, app: str) -> Sequence[str]:
    """Return the app's actions with their causes, none when there is nothing to do. Blocks."""
    try:
        return list(_lines(_answer(api, f"/api/v1/plan/{quote(app, safe='')}"), app))
    except FileNotFoundError:
        return [NO_DAEMON]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return [f"cannot get the plan from the daemon: {error}; try 'reconciler plan'"]


def _answer(api: Path, path: str) -> Any:
    connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_TIMEOUT_S)
        with reachable(api) as short:
            connection.sock.connect(short)
        connection.request("GET", path)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise ValueError(answer.get("detail", f"the API answered {response.status}"))
        return answer
    finally:
        connection.close()


def _lines(plan: Any, app: str) -> Iterator[str]:
    for each in plan["apps"]:
        if each["name"] != app:
            continue
        yield from (f"{action['what']} — {action['cause']}" for action in each["actions"])
        if each["error"]:
            yield each["error"]
        elif each["wait_seconds"] is not None:
            yield "retry after the back-off delay"
        elif each["message"] and not each["actions"]:
            yield each["message"]
