"""Where the figures of requests come from."""

import sqlite3
import time
from collections.abc import Iterable, Mapping

from reconciler.metrics.exposition import render
from reconciler.serving import figures
from reconciler.settings.settings import Settings
from reconciler.state.paths import Layout


def rendered(settings: Settings) -> str | None:
    """Prometheus' text format, None when nothing can be read just now. Blocks."""
    try:
        return render(settings.layout)
    except (OSError, sqlite3.Error):
        return None


class Requests:
    """Requests per second by app, from one look to the next."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._before: Mapping[str, int] = {}
        self._at = 0.0

    def per_second(self, names: Iterable[str]) -> Mapping[str, float]:
        """An app that was not there at the look before is not in it. Blocks."""
        now, before = time.monotonic(), self._before
        seen = {name: figures.of_app(self._layout.passed(name)).requests for name in names}
        seconds, self._before, self._at = now - self._at, seen, now
        return {name: max(0, seen[name] - before[name]) / seconds for name in seen if name in before and seconds > 0}
