"""Grant the requests of operators for a number of workers; what is granted is done at once and journaled."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.control.grants import Grant, Manifests
from reconciler.control.requests import Refused, desired_app
from reconciler.host.world import AppWorld
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import HeldWorkers
from reconciler.planning.apps.worker_number import asked_workers, held_workers
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.planning.wording import counted, span
from reconciler.state.journal import Journal

MOST_WORKERS = 1000
LEAST_FOR_S, MOST_FOR_S = 1.0, 30 * 86_400.0


class ScaleRequests:
    """Grants {"do": "scale", "app": "blog", "workers": 6, "for": 7200}; `for` is seconds.

    Without workers, those of the manifest apply again.
    """

    def __init__(self, manifests: Manifests, apps: AppWorld, journal: Journal) -> None:
        self._manifests = manifests
        self._apps = apps
        self._journal = journal

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What grants it, by its name."""
        return {"scale": self._grant}

    def _grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        app = desired_app(self._manifests.catalog, request.get("app"))
        if request.get("workers") is None:
            text = self._end(app, who)
        else:
            text = self._hold(app, number(request["workers"]), seconds(request.get("for")), who)
        return {"done": f"{app.name}: {text}"}

    def _hold(self, app: App, workers: int, for_s: float | None, who: str) -> str:
        if app.address is None:
            raise Refused("it has no web server (web: false); 'count' in its manifest says how many run of a process")
        if app.recipe.command:
            raise Refused("its own program (command) decides how many processes it has")
        ends_at = None if for_s is None else datetime.now(UTC).timestamp() + for_s
        until = None if for_s is None else self._apps.now() + for_s
        held = HeldWorkers(workers=workers, holds_for=asked_workers(app), for_s=for_s, until=until, ends_at=ends_at)
        self._apps.request(app.name, held, who)
        lasts = "until 'workers' of its manifest changes" if for_s is None else f"for {span(for_s)}"
        text = f"{counted(workers, 'worker')} {lasts}, or until 'reconciler scale {app.name} auto'"
        self._write(app, text, who)
        return f"{text}; its manifest says {asked_workers(app)}"

    def _end(self, app: App, who: str) -> str:
        history = self._apps.observe(app.name).held_workers
        if held_workers(app, history, self._apps.now()) is None:
            return f"no operator has asked for another number of workers than its manifest: {asked_workers(app)}"
        self._apps.request(app.name, "scale", who)
        text = f"its manifest applies again: {asked_workers(app)} workers"
        self._write(app, text, who)
        return text

    def _write(self, app: App, text: str, who: str) -> None:
        subject, by = Subject("app", app.name), f"requested by {who}"
        self._journal.write(subject, "request", text, by, Reason.SCALED_BY_OPERATOR)


def number(value: Any) -> int:
    """Return a number of workers of a request. Raises Refused."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_WORKERS:
        raise Refused(f"'workers' must be a number between 1 and {MOST_WORKERS}; 'stop' stops an app")
    return value


def seconds(value: Any) -> float | None:
    """Return for how long a request asks, None for no end by time. Raises Refused."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not LEAST_FOR_S <= value <= MOST_FOR_S:
        raise Refused("'for' must be a duration between 1s and 30d")
    return float(value)
