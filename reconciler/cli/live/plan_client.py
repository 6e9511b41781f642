"""Ask the daemon's API for the plan of an app: only the daemon knows its own settings."""

import http.client
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.cli.api_client import answer_of

NO_DAEMON = "no daemon is running; 'reconciler plan' shows what one would do"


def plan_of(api: Path, app: str) -> Sequence[str]:
    """Return the app's actions with their causes, none when there is nothing to do. Blocks."""
    try:
        return list(_lines(answer_of(api, f"/api/v1/plan/{quote(app, safe='')}"), app))
    except FileNotFoundError:
        return [NO_DAEMON]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return [f"cannot get the plan from the daemon: {error}; try 'reconciler plan'"]


def _lines(plan: Any, app: str) -> Iterator[str]:
    for each in plan["apps"]:
        if each["name"] != app:
            continue
        yield from (f"{action['what']} — {action['cause']}" for action in each["actions"])
        if each["error"]:
            yield each["error"]
        elif each["wait_seconds"] is not None:
            yield "retry after the back-off delay"
        elif each["message"] and not each["actions"]:
            yield each["message"]
