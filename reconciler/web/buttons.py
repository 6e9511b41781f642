"""The requests that the page offers for an app, each with its button's label and its effect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def _always(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """One request. `effect` is shown before it is made; `offered` decides by an app's row of the status."""

    label: str
    effect: str
    offered: Callable[[Mapping[str, Any]], bool] = _always


BUTTONS: Mapping[str, Button] = {
    "restart": Button(
        label="Restart",
        effect="A new instance starts; the current one serves until the new one is ready.",
    ),
    "rollback": Button(
        label="Roll back",
        effect="The previous known good revision serves until the manifest or the source changes.",
    ),
    "stop": Button(
        label="Stop",
        effect="The app stops serving and its port is closed until its manifest changes or you start it here.",
        offered=lambda app: app["state"] != "stopped",
    ),
    "start": Button(
        label="Start",
        effect="The app runs as its manifest says. Earlier requests to stop it or roll it back no longer apply.",
        offered=lambda app: app["state"] == "stopped" or bool(app.get("override")),
    ),
    "forget-failure": Button(
        label="Retry now",
        effect="Recorded failures are forgotten, and the failed action is retried at once.",
        offered=lambda app: app["state"] in {"failing", "degraded"},
    ),
}


def requests_for(app: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the requests that make sense for an app in its current state; none when its manifest is refused."""
    if app["state"] == "invalid":
        return ()
    return tuple(name for name, button in BUTTONS.items() if button.offered(app))
