"""The requests that the page offers for an app, each with its button's label and a note to read before confirming."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def _always(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """One request. `is_offered` decides by an app's row of the status."""

    label: str
    note: str
    is_offered: Callable[[Mapping[str, Any]], bool] = _always


BUTTONS: Mapping[str, Button] = {
    "restart": Button(
        label="Restart",
        note="A new instance starts; the current one serves until the new one is ready.",
    ),
    "rollback": Button(
        label="Roll back",
        note="The previous known good revision serves until the manifest or the source changes.",
    ),
    "stop": Button(
        label="Stop",
        note="The app stops serving and its port is closed until its manifest changes or you start it here.",
        is_offered=lambda app: app["state"] != "stopped",
    ),
    "start": Button(
        label="Start",
        note="The app runs as its manifest says. Earlier requests to stop it or roll it back no longer apply.",
        is_offered=lambda app: app["state"] == "stopped" or bool(app.get("override")),
    ),
    "forget-failure": Button(
        label="Retry now",
        note="Recorded failures are forgotten, and the failed action is retried at once.",
        is_offered=lambda app: app["state"] in {"failing", "degraded"},
    ),
}


def offered(app: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the requests that make sense for an app in its current state; none when its manifest is refused."""
    if app["state"] == "invalid":
        return ()
    return tuple(name for name, button in BUTTONS.items() if button.is_offered(app))
