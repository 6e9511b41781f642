"""Compute plans in a process of their own, because reading a source may take long or hang.

As a program it reads settings from standard input and an app's name as its argument, and prints what
`reconciler plan --json` prints.
"""

import asyncio
import json
import pickle
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from reconciler.linux.child_processes import running
from reconciler.settings.settings import Settings
from reconciler.web.responses import Problem

_WITHIN_S = 20.0
_slots = asyncio.Semaphore(2)

T = TypeVar("T")


class CannotPlan(Exception):
    """Why there is no plan."""


async def plan_while_connected(request: Request, settings: Settings, app: str | None) -> dict[str, Any]:
    """Return the plan of one app, or of all; raises CannotPlan. It is abandoned when the client disconnects."""
    return await while_connected(request, _plan(settings, app))


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, which is cancelled as soon as the client disconnects."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Problem(400, "the client disconnected")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _plan(settings: Settings, app: str | None) -> dict[str, Any]:
    async with _slots:
        program = (sys.executable, "-m", "reconciler.web.plan_process", *([app] if app else []))
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            async with running(program, _WITHIN_S, stdin=pipe, stdout=pipe, stderr=null) as child:
                output, _ = await child.communicate(pickle.dumps(settings))
        except TimeoutError:
            raise CannotPlan(f"the source could not be read within {_WITHIN_S:g} s") from None
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        raise CannotPlan("the plan could not be computed; 'reconciler plan' on the host shows why") from None
    if "cannot" in found:
        raise CannotPlan(str(found["cannot"]))
    return found


def main() -> None:
    """Print the plan as JSON, or `cannot` and why."""
    from reconciler.inspection.plans import facts, plans_now

    settings = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this
    try:
        found = facts(*plans_now(settings, sys.argv[1] if sys.argv[1:] else None))
    except Exception as error:  # noqa: BLE001  whatever it is, the reader of the page is to know
        found = {"cannot": str(error)}
    print(json.dumps(found))  # noqa: T201  this is its result


if __name__ == "__main__":
    main()
