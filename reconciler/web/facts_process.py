"""Look up in a process of its own what may take long or hang: plans, environments, and the checks of the host.

As a program it reads settings from standard input, takes what to look up and an app's name as its arguments, and prints
JSON as the command of that name does.
"""

import asyncio
import contextlib
import json
import pickle
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, Literal, TypeAlias, TypeVar

from starlette.requests import Request

from reconciler.linux.child_processes import running
from reconciler.linux.utf8_mode import ensure_utf8
from reconciler.settings.settings import Settings
from reconciler.web.responses import Problem

_WITHIN_S = 20.0
_slots = asyncio.Semaphore(2)

T = TypeVar("T")

Lookup: TypeAlias = Literal["plan", "environment", "checks"]
_COMMANDS = {"plan": "plan", "environment": "env", "checks": "doctor"}
_SLOW = {
    "plan": "the source could not be read",
    "environment": "it could not be looked up",
    "checks": "the checks did not end",
}


class CannotTell(Exception):
    """Why there are no facts."""


async def facts_while_connected(
    request: Request, settings: Settings, what: Lookup, app: str | None = None
) -> dict[str, Any]:
    """Return the plan, environment or checks; raises CannotTell. It is abandoned when the client disconnects."""
    return await while_connected(request, _found(settings, what, app))


async def facts_or_why(
    request: Request, settings: Settings, what: Lookup, app: str | None = None
) -> tuple[dict[str, Any], str]:
    """Return the plan, environment or checks with an empty text; without any of it, why there is none."""
    try:
        return await facts_while_connected(request, settings, what, app), ""
    except CannotTell as error:
        return {}, str(error)


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


async def _found(settings: Settings, what: Lookup, app: str | None) -> dict[str, Any]:
    async with _slots:
        program = (sys.executable, "-m", "reconciler.web.facts_process", what, *([app] if app else []))
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            async with running(program, _WITHIN_S, stdin=pipe, stdout=pipe, stderr=null) as child:
                output, _ = await child.communicate(pickle.dumps(settings))
        except TimeoutError:
            raise CannotTell(f"{_SLOW[what]} within {_WITHIN_S:g} s") from None
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        raise CannotTell(f"it could not be computed; 'reconciler {_COMMANDS[what]}' on the host shows why") from None
    if "cannot" in found:
        raise CannotTell(str(found["cannot"]))
    return found


def main() -> None:
    """Print the facts as JSON, or `cannot` and why."""
    ensure_utf8()
    settings = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this
    try:
        found = _looked_up(settings, *sys.argv[1:])
    except Exception as error:  # noqa: BLE001  whatever it is, the reader of the page is to know
        found = {"cannot": str(error)}
    print(json.dumps(found))  # noqa: T201  this is its result


def _looked_up(settings: Settings, what: str, app: str | None = None) -> dict[str, Any]:
    if what == "checks":
        from reconciler.inspection.checks.host import checks

        return {"checks": [asdict(check) for check in checks(settings)]}
    if what == "environment" and app is not None:
        return {"environment": _masked_environment(settings, app)}
    from reconciler.inspection.plans import facts, plans_now

    return facts(*plans_now(settings, app))


def _masked_environment(settings: Settings, app: str) -> dict[str, str]:
    from reconciler.inspection.environment import surroundings
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.vault.secret_patterns import masked

    with contextlib.closing(HostSnapshot(settings.paths)) as snapshot:
        found = surroundings(app, settings, snapshot)
    return masked(found.environment, found.secret)


if __name__ == "__main__":
    main()
