"""A host whose apps' logs are passed on: what an app writes, where it is passed on to, and what an operator is told."""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from reconciler.daemon.drains.drain import Bounds, LogDrain
from reconciler.daemon.drains.targets import Target, target_of
from reconciler.inspection.checks.reconciler import log_drain
from reconciler.planning.reason import Reason
from reconciler.settings.settings import Drain, Settings
from reconciler.state.paths import StatePaths
from reconciler.vault.secret_texts import SecretTexts

SECRETS = SecretTexts({"hunter2-hunter2"})


class DrainedHost:
    """Logs of apps below a directory, and drains of them to a target of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = StatePaths(state=root / "state")
        self.paths.logs.mkdir(parents=True)
        self.socket = root / "socket"
        self.events: list[tuple[Reason, str]] = []
        self.processes: dict[str, set[str]] = {}

    def write(self, text: str, app: str = "blog", stream: str = "app") -> None:
        log = self.paths.log(app, stream)
        log.parent.mkdir(exist_ok=True)
        with log.open("a") as file:
            file.write(text)

    @asynccontextmanager
    async def drained(
        self,
        to: str,
        *,
        limit: int = 2**20,
        streams: tuple[str, ...] = ("app", "access"),
        target: Target | None = None,
        bounds: Bounds = Bounds(),
    ) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        setting = Drain(to=to, streams=streams)
        drain = LogDrain(
            setting,
            target or target_of(setting, limit_bytes=limit, keep=3, syslog=self.socket, journal=self.socket),
            self.paths,
            limit_bytes=limit,
            apps=lambda: self.processes,
            secrets=lambda _: SECRETS,
            record=lambda reason, text: self.events.append((reason, text)),
            bounds=bounds,
        )
        await drain.begin()
        try:
            yield lambda: drain.look((), everything=True)
        finally:
            await drain.end()

    def told(self, to: str) -> tuple[str, str]:
        settings = Settings(manifests=self.root, paths=self.paths, drain=Drain(to=to))
        (check,) = log_drain(settings)
        return check.level, check.found


def on_loop(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop of its own."""

    @functools.wraps(story)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(story(*args, **kwargs))

    return run


@contextmanager
def receiver(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(path))
        bound.setblocking(False)
        yield bound


def received(bound: socket.socket) -> list[str]:
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(bound.recv(2**17).decode())
    return found


def texts(bound: socket.socket) -> list[str]:
    return [message.partition(": ")[2] for message in received(bound)]
