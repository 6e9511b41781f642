"""The warden's second process: it gives the kernel the rules of where apps of a daemon that is not root may connect.

It has no right but that over the network. What it takes is a table of users of apps, addresses and ports; the name of
the table is its own, and so is the one user besides whose sockets may be in it, the daemon's.
"""

import errno
import json
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from reconciler.isolation import rule_requests
from reconciler.isolation.rule_requests import BUILDS, CHANGED, HOLDS, LONGEST, PART, id_of, mark_of, name_of, table_of
from reconciler.isolation.warden import ONLY_THE_DAEMON, Warded, credentials_of
from reconciler.linux import nftables
from reconciler.linux.nftables import OwnedTables

_REQUEST_S = 2.0
_MOST_TABLES, _MOST_WATCHING = 16, 16
_WATCH = "watch"


def serve_rules(listening: socket.socket, warded: Warded, until: int) -> None:
    """Answer requests until the descriptor `until` is readable; whatever one of them is, the next is answered.

    Raises OSError if the kernel does not tell of changes of its tables.
    """
    watching: dict[int, socket.socket] = {}
    waiting, tables = select.poll(), OwnedTables()
    for each in _ours(warded):
        tables.take(each)
    with closing(nftables.watch()) as changes:
        for number in (listening.fileno(), changes.fileno(), until):
            waiting.register(number, select.POLLIN)
        while until not in (ready := dict(waiting.poll())):
            for gone in ready.keys() & watching.keys():
                waiting.unregister(gone)
                watching.pop(gone).close()
            if changes.fileno() in ready:
                nftables.drain(changes)
                _tell(watching)
            if listening.fileno() in ready:
                with suppress(OSError):
                    connection = _served(listening, tables, warded)
                    if connection is not None and len(watching) < _MOST_WATCHING:
                        watching[connection.fileno()] = connection
                        waiting.register(connection, 0)  # its end alone


def _tell(watching: dict[int, socket.socket]) -> None:
    for each in watching.values():
        with suppress(OSError):  # it has not read what it was told before, or is gone
            each.send(CHANGED, socket.MSG_DONTWAIT)


def _served(listening: socket.socket, tables: OwnedTables, warded: Warded) -> socket.socket | None:
    """Answer one connection; return it if it is to be told of changes. Raises OSError if nothing was asked."""
    connection, _ = listening.accept()
    try:
        _, uid = credentials_of(connection)
        said = _received(connection)
        answer = _answered(said, tables, warded) if uid == warded.uid else _refused(ONLY_THE_DAEMON, errno.EPERM)
        connection.send(json.dumps(answer).encode())
        if answer.get("is") == _WATCH:
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _received(connection: socket.socket) -> bytes:
    """Return all that is sent by a connection, until it says no more. Raises OSError, as if that takes too long."""
    before, parts, length = time.monotonic() + _REQUEST_S, list[bytes](), 0
    while length <= LONGEST:
        connection.settimeout(max(0.001, before - time.monotonic()))
        if not (part := connection.recv(PART)):
            return b"".join(parts)
        parts.append(part)
        length += len(part)
    raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))


def _answered(said: bytes, tables: OwnedTables, warded: Warded) -> dict[str, Any]:
    try:
        request = rule_requests.read(said)
        asked = str(request.get("do"))
        if asked in _OF_ALL:
            return {"is": _OF_ALL[asked] or tables.generation()}
        if asked not in _DONE:
            raise ValueError("there is no such request")
        return {"is": _DONE[asked](tables, name_of(warded.uid, id_of(request.get("id"))), request, warded)}
    except ValueError as error:
        return _refused(str(error), errno.EINVAL)
    except OSError as error:
        return _refused(error.strerror or str(error), error.errno or errno.EIO)


def _refused(why: str, number: int) -> dict[str, Any]:
    return {"error": number, "why": why[:200]}


def _replace(tables: OwnedTables, name: str, request: dict[str, Any], warded: Warded) -> None:
    table = table_of(request.get("table"), warded.users, warded.uid)
    if table:
        ours = _ours(warded)
        if name not in ours and len(ours) >= _MOST_TABLES:
            raise OSError(errno.ENOSPC, f"user {warded.uid} has {_MOST_TABLES} tables")
    tables.replace(name, table, mark_of(request.get("mark")))


def _change(tables: OwnedTables, name: str, request: dict[str, Any], warded: Warded) -> None:
    before, after = (table_of(request.get(each), warded.users, warded.uid) for each in ("before", "after"))
    tables.change(name, before, after, mark_of(request.get("mark")), renew=request.get("renew") is True)


def _ours(warded: Warded) -> list[str]:
    return [each for each in nftables.tables() if each.startswith(name_of(warded.uid, ""))]


_OF_ALL = {_WATCH: _WATCH, HOLDS: [BUILDS], "generation": None}  # that is the kernel's to say
_DONE: dict[str, Callable[[OwnedTables, str, dict[str, Any], Warded], Any]] = {
    "mark": lambda tables, name, _, __: tables.mark_of(name),
    "take": lambda tables, name, _, __: tables.take(name),
    "replace": _replace,
    "change": _change,
}
