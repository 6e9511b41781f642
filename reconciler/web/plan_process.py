"""What would be done about an app, found out by a process of its own: reading a source may take long, or hang.

As a program: settings on standard input, an app's name as the argument; what `reconciler plan --json` prints comes out.
"""

import asyncio
import json
import pickle
import sys
from typing import Any

from reconciler.linux.child_processes import running
from reconciler.settings.settings import Settings

_PATIENCE_S = 20.0
_LARGEST = 2**22
_at_once = asyncio.Semaphore(2)


class CannotPlan(Exception):
    """Why nothing is known of what would be done."""


async def plan_of(settings: Settings, app: str | None) -> dict[str, Any]:
    """The plan of one app, or of all; raises CannotPlan."""
    async with _at_once:
        program = (sys.executable, "-m", "reconciler.web.plan_process", *([app] if app else []))
        piped, quiet = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            async with running(program, _PATIENCE_S, stdin=piped, stdout=piped, stderr=quiet) as child:
                output, _ = await child.communicate(pickle.dumps(settings))
        except TimeoutError:
            raise CannotPlan(f"its source could not be read within {_PATIENCE_S:g} s") from None
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        raise CannotPlan("the plan could not be made; 'reconciler plan' on the host says why") from None
    if "cannot" in found:
        raise CannotPlan(str(found["cannot"]))
    return found


def main() -> None:
    from reconciler.inspection.plans import facts, plans_now

    settings = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this
    try:
        found = facts(*plans_now(settings, sys.argv[1] if sys.argv[1:] else None))
    except Exception as error:  # noqa: BLE001  whatever it is, the reader of the page is to know
        found = {"cannot": str(error)}
    print(json.dumps(found))  # noqa: T201  this is its result


if __name__ == "__main__":
    main()
