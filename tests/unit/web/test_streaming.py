"""Streams: how many there may be at a time, and when they end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from reconciler.web.responses import Problem
from reconciler.web.streaming import Streams


def _request(address: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/live", "headers": [], "client": (address, 1)})


async def _events() -> AsyncIterator[str]:
    for number in range(3):
        yield f"data: {number}\n\n"


def _streams() -> Streams:
    return Streams(lambda request: request.client.host if request.client else "")


def test_a_burst_of_requests_opens_no_more_streams_than_may_be_open() -> None:
    streams = _streams()

    def opened(address: str) -> bool:
        try:
            streams.response(_request(address), _events(), lambda: True)
        except Problem:
            return False
        return True

    assert sum(opened("192.0.2.1") for _ in range(150)) == 32
    assert sum(opened("192.0.2.2") for _ in range(150)) == 32
    assert not opened("192.0.2.3")


@pytest.mark.parametrize("leaves", [False, True])
def test_a_stream_that_ended_makes_room_even_if_its_client_left_at_once(leaves: bool) -> None:
    streams = _streams()

    async def receive() -> Message:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        await asyncio.sleep(0)

    for _ in range(100):
        request = _request("192.0.2.1")
        response = streams.response(request, _events(), lambda: True)
        asyncio.run(response(request.scope, receive, send))


def test_a_stream_ends_with_the_session_of_its_client() -> None:
    sent: list[bytes] = []
    allowed = iter([True, False])

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    request = _request("192.0.2.1")
    response = _streams().response(request, _events(), lambda: next(allowed))
    asyncio.run(response(request.scope, receive, send))
    assert b"".join(sent) == b"retry: 3000\n\ndata: 0\n\n"
