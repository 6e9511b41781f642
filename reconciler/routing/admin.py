"""Speak with a Caddy over the unix socket of its admin API: read its whole configuration, and replace it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.unix_sockets import connected, peer_pid

SOCKET, LOG = "admin.sock", "proxy.log"  # of a Caddy of our own, in its directory
_ANSWER_S = 30.0  # a change answers once every listener is open
_CONNECT_S = 2.0
_LARGEST = 64 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_PRECONDITION_FAILED = 412
_REFUSED = 400
# As a version before 2.7 says with another status of what it does not know yet.
_UNKNOWN = ("unknown field", "module not registered")


class ProxyError(Exception):
    """The proxy cannot be asked, or does not do what it is told; the text is for operators."""


class ConfigRefused(ProxyError):
    """The proxy refuses a configuration; the one before stays in force."""


class ConfigChanged(ProxyError):
    """The configuration has changed since it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class AdminSocket:
    """The admin API of a Caddy, at a unix socket: nothing of it is reached over TCP, where every program could."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def config(self) -> tuple[Any, str]:
        """Return the whole configuration, None for none, and the tag by which it is replaced. Raises ProxyError."""
        answer = await self._ask("GET", "/config/")
        if answer.status != 200:
            raise ProxyError(f"the proxy at {self._path} answers {answer.status} when asked for its configuration")
        try:
            return json.loads(answer.body), answer.headers.get("etag", "")
        except ValueError as error:
            raise ProxyError(f"the proxy at {self._path} answers what is no configuration") from error

    async def replace(self, config: Any, tag: str) -> None:
        """Give it a configuration in place of the one that has this tag.

        Raises ConfigRefused, ConfigChanged, or ProxyError if it cannot be asked.
        """
        headers = {"Content-Type": "application/json"} | ({"If-Match": tag} if tag else {})
        answer = await self._ask("POST", "/config/", json.dumps(config).encode(), headers)
        if answer.status == _PRECONDITION_FAILED:
            raise ConfigChanged("the proxy was configured by another program just now")
        is_older = answer.status != 200 and any(each in _said(answer) for each in _UNKNOWN)
        if answer.status == _REFUSED or is_older:
            raise ConfigRefused(f"the proxy refuses its configuration: {_said(answer)} (the one before stays in force)")
        if answer.status != 200:
            raise ProxyError(f"the proxy cannot take its configuration: {_said(answer)}")

    def pid(self) -> int | None:
        """Return the process that listens there, None if none does; blocks for a moment at most."""
        try:
            with contextlib.closing(connected(self._path, socket.SOCK_STREAM, _CONNECT_S)) as line:
                return peer_pid(line)
        except OSError:
            return None

    async def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> _Answer:
        try:
            async with asyncio.timeout(_ANSWER_S):
                line = connected(self._path, socket.SOCK_STREAM, 0)
                reader, writer = await asyncio.open_unix_connection(sock=line, limit=_LONGEST_LINE)
                try:
                    # Caddy takes only an empty host on a unix socket.
                    fields = {"Host": "", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
                    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
                    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                    await writer.drain()
                    return await _answer(reader)
                finally:
                    writer.close()
        except TimeoutError:
            raise ProxyError(f"the proxy at {self._path} does not answer within {_ANSWER_S:g} s") from None
        except (ValueError, EOFError) as error:
            raise ProxyError(f"the proxy at {self._path} answers what is no HTTP") from error
        except PermissionError as error:
            raise ProxyError(f"cannot connect to the proxy at {self._path}: {_denied(self._path)}") from error
        except OSError as error:
            raise ProxyError(f"cannot reach the proxy at {self._path}: {error.strerror or error}") from error


async def _answer(reader: asyncio.StreamReader) -> _Answer:
    status = int((await _line(reader)).split()[1])
    headers = await _headers(reader)
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers["content-length"]) if "content-length" in headers else None
        body = await reader.read(_LARGEST) if length is None else await reader.readexactly(min(length, _LARGEST))
        return _Answer(status=status, body=body, headers=headers)
    parts: list[bytes] = []
    while size := int((await _line(reader)).split(";")[0], 16):
        if size > _LARGEST or sum(map(len, parts)) > _LARGEST:
            raise ValueError(size)
        parts.append(await reader.readexactly(size))
        await _line(reader)
    # A version before 2.7 sends the tag after the body.
    return _Answer(status=status, body=b"".join(parts), headers={**headers, **await _headers(reader)})


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    while line := await _line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


async def _line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line.decode("latin-1").strip()


def _said(answer: _Answer) -> str:
    """Return what it says of a failure, on one line."""
    try:
        text = str(json.loads(answer.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = answer.body.decode("utf-8", "replace")
    return " ".join(text.split())[:600] or str(answer.status)


def _denied(path: Path) -> str:
    try:
        group = path.group()
    except (OSError, KeyError):
        return "permission denied"
    return f"permission denied: the socket is of group {group}, which the daemon's user is to be in"
