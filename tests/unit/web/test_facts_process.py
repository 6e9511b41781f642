"""Plans for a client: abandoned when it disconnects, so that no slot is taken by a plan that nobody reads."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from reconciler.web.facts_process import while_connected
from reconciler.web.responses import Problem


def _request(gone: asyncio.Event) -> Request:
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "path": "/", "headers": []}, receive)


def test_who_left_has_nothing_done_for_them_any_more_nor_holds_a_place() -> None:
    async def story() -> list[str]:
        told: list[str] = []
        place = asyncio.Semaphore(1)
        started, gone = asyncio.Event(), asyncio.Event()

        async def endless() -> None:
            async with place:
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    told.append("given up")

        async def short() -> str:
            async with place:
                return "done"

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            leaver = group.create_task(_left_alone(_request(gone), endless()))
            await started.wait()
            stayer = group.create_task(while_connected(_request(asyncio.Event()), short()))
            gone.set()
            told.append(await leaver)
            told.append(await stayer)
        return told

    assert asyncio.run(story()) == ["given up", "the client disconnected", "done"]


def test_what_goes_wrong_is_told_to_who_stayed() -> None:
    async def wrong() -> None:
        raise LookupError("no such thing")

    async def story() -> None:
        await while_connected(_request(asyncio.Event()), wrong())

    with pytest.raises(LookupError, match="no such thing"):
        asyncio.run(story())


async def _left_alone(request: Request, work: Coroutine[Any, Any, None]) -> str:
    with pytest.raises(Problem) as left:
        await while_connected(request, work)
    return left.value.detail
