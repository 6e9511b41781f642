"""Carry requests of operators to the running daemon: a line of JSON on a unix socket, a line of JSON back.

Requests of root and of the daemon's own user are accepted, and of no others, whatever the mode of the socket says.
"""

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.control.requests import NotFound, Refused
from reconciler.linux.unix_sockets import peer_name, reachable, refuse_files

if TYPE_CHECKING:  # a command that asks is quicker without it
    import asyncio

_MOST_OF_A_REQUEST = 64 * 1024
_PATIENCE_S = 5.0


class NoAnswer(OSError):
    """A daemon that accepted a request and does not answer it."""


Answer = Callable[[dict[str, Any], str], dict[str, Any]]


class Control:
    """Listens on the socket until closed. `answer` gets a request and the operator's name, and may raise Refused."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Open the socket, in place of one that a daemon left that was killed."""
        import asyncio

        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            refuse_files(listening)
            self._path.unlink(missing_ok=True)
            with reachable(self._path) as short:
                listening.bind(short)
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=_MOST_OF_A_REQUEST)
        except BaseException:
            listening.close()
            raise

    def close(self) -> None:
        """Accept no more requests."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
        import asyncio

        with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_PATIENCE_S):
                who = peer_name(writer.get_extra_info("socket"))
                line = await reader.readline()
                writer.write(json.dumps(self._answered(line, who)).encode() + b"\n")
                await writer.drain()

    def _answered(self, line: bytes, who: str | None) -> dict[str, Any]:
        if who is None:
            return {"error": "only root and the daemon's own user may make requests"}
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise Refused("a request is a JSON object")
            return self._answer(request, who)
        except Refused as error:
            return {"error": str(error), "reason": error.reason}
        except ValueError as error:
            return {"error": str(error)}


def ask(path: Path, request: dict[str, Any], patience_s: float = _PATIENCE_S) -> dict[str, Any]:
    """Send one request to a daemon and return its answer, which may take `patience_s`.

    Raises Refused, NoAnswer when a daemon listens and does not answer, and another OSError when none listens.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, reachable(path) as short:
        client.settimeout(patience_s)
        try:
            client.connect(short)
            answer = _answer_to(client, json.dumps(request).encode() + b"\n")
        except (TimeoutError, BlockingIOError) as error:  # the second: its backlog is full
            raise NoAnswer(f"nothing came within {patience_s:g} s") from error
    if "error" in answer:
        raise (NotFound if answer.get("reason") == NotFound.reason else Refused)(answer["error"])
    return answer


def _answer_to(client: socket.socket, line: bytes) -> dict[str, Any]:
    try:
        client.sendall(line)
        with client.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
    except (ConnectionError, ValueError) as error:
        raise NoAnswer("it closed the connection") from error
    return answer
