"""Serve the API and the page on the daemon's listeners, until the daemon ends or no client has come for a while."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence

import uvicorn
from uvicorn.server import ServerState

from reconciler.daemon.web_process import SIGN_OF_LIFE_EVERY_S
from reconciler.linux import loops
from reconciler.settings.settings import Settings
from reconciler.web.app import application
from reconciler.web.connection import Connection

_LONGEST_HEAD = 16 * 1024
_DRAIN_WITHIN_S = 10.0


def serve(settings: Settings, line: socket.socket, listeners: Sequence[socket.socket]) -> None:
    """Serve on the listeners. `line` closes when the daemon ends, and carries a heartbeat to it."""
    loops.run(_serve(settings, line, listeners))


async def _serve(settings: Settings, line: socket.socket, listeners: Sequence[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    line.setblocking(False)
    loop.add_reader(line.fileno(), os._exit, 0)  # readable only when the daemon has ended
    config = uvicorn.Config(
        application(settings),
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a client that sends what is no request could fill the disk with warnings
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
    )
    config.load()
    state = ServerState()
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            server = await loop.create_server(
                lambda: Connection(config=config, server_state=state, app_state={}),
                sock=listener,
                backlog=256,
            )
            stack.callback(server.close)
        await _until_idle(settings.api_idle_s, state, line)
    # Accepted connections are still answered; new ones wait in the backlog for the next process.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_WITHIN_S):
            while state.connections:  # noqa: ASYNC110  uvicorn does not report closed connections
                await asyncio.sleep(0.1)


async def _until_idle(idle_s: float, state: ServerState, line: socket.socket) -> None:
    """Return when there was no connection for `idle_s`."""
    last, total = time.monotonic(), -1
    while time.monotonic() - last < idle_s:
        if state.connections or state.total_requests != total:
            last, total = time.monotonic(), state.total_requests
        with contextlib.suppress(BlockingIOError):
            line.send(b".")
        await asyncio.sleep(min(SIGN_OF_LIFE_EVERY_S, idle_s))
