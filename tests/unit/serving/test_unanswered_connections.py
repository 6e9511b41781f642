"""A connection that the daemon accepted is closed, also if its loop ends before anything was read from it."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from reconciler.planning.address import Address
from reconciler.serving.holding import Holding
from reconciler.serving.relay import Relay


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def relay(listener: socket.socket) -> Relay:
    return Relay(listener, Address(host="127.0.0.1", port=listener.getsockname()[1]))


@pytest.mark.parametrize("accepts", [lambda listener: Holding(listener, None), relay])
def test_one_whose_task_is_cancelled_before_its_first_step_is_closed(
    accepts: Callable[[socket.socket], Holding | Relay], listener: socket.socket
) -> None:
    async def story() -> None:
        accepting = accepts(listener)
        client.connect(listener.getsockname())
        accepting._accepting.take_some()
        accepting.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with socket.socket() as client:
        client.settimeout(30.0)
        asyncio.run(story())
        assert client.recv(1) == b""
