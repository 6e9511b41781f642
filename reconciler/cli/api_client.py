"""Ask the API of the running daemon, over its socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from reconciler.linux.unix_sockets import reachable

_TIMEOUT_S = 25.0


def answer_of(api: Path, path: str, body: Any = None) -> Any:
    """Return the JSON that the API answers to a GET, or to a POST where there is a body. Blocks.

    Raises OSError where none listens, ValueError with the API's words for a refusal, and HTTPException.
    """
    connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_TIMEOUT_S)
        with reachable(api) as short:
            connection.sock.connect(short)
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise ValueError(answer.get("detail", f"the API answered {response.status}"))
        return answer
    finally:
        connection.close()
