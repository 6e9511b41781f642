"""Make requests to the daemon beside the screen, so that keys respond while it answers."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from reconciler.cli.daemon_client import outcome_of
from reconciler.cli.live.selection import AppRequest

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths


class Requester:
    """Makes requests one after the other. `on_answer` is called from another thread when there is an answer."""

    def __init__(self, paths: "StatePaths", on_answer: Callable[[], None]) -> None:
        self._paths = paths
        self._on_answer = on_answer
        self._requests: queue.SimpleQueue[AppRequest] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._make, daemon=True).start()

    def make(self, request: AppRequest) -> None:
        """Make a request."""
        self._requests.put(request)

    def answers(self) -> Iterator[str]:
        """Yield what became of requests, each once."""
        while not self._answers.empty():
            yield self._answers.get()

    def _make(self) -> None:
        while True:
            request = self._requests.get()
            try:
                answer = outcome_of(self._paths, request.do, request.app)
            except click.ClickException as error:
                answer = error.message
            self._answers.put(answer if request.app in answer else f"{request.app}: {answer}")
            self._on_answer()
