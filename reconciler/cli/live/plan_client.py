"""What is about to be done about an app and why, asked of the daemon's API: only it knows its own settings."""

import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.linux.unix_sockets import reachable

_PATIENCE_S = 25.0
NO_DAEMON = "no daemon runs, so nothing is done; 'reconciler plan' says what one would do"


def pending(api: Path, app: str) -> Sequence[str]:
    """The actions with their causes, in an operator's words; none when there is nothing to do. Blocks."""
    try:
        return list(_told(_answer(api, f"/api/v1/plan/{quote(app, safe='')}"), app))
    except FileNotFoundError:
        return [NO_DAEMON]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return [f"cannot be found out: {error}; 'reconciler plan' says it, too"]


def _answer(api: Path, path: str) -> Any:
    connection = http.client.HTTPConnection("localhost", timeout=_PATIENCE_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_PATIENCE_S)
        with reachable(api) as short:
            connection.sock.connect(short)
        connection.request("GET", path)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(told.get("detail", f"the API answered {answer.status}"))
        return told
    finally:
        connection.close()


def _told(plan: Any, app: str) -> Iterator[str]:
    for each in plan["apps"]:
        if each["name"] != app:
            continue
        yield from (f"{action['what']} — {action['cause']}" for action in each["actions"])
        if each["error"]:
            yield each["error"]
        elif each["wait_seconds"] is not None:
            yield "start again, when the delay before the next try is over"
