"""Probe serving instances through their listener, and count consecutive failures.

Planning decides what follows: a probe only reports that an instance is unhealthy, or healthy again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from reconciler.planning.desired import Address, Health, Liveness

_FIRST_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The request of a probe, where it goes, and how often."""

    address: Address
    health: Health
    host: str
    liveness: Liveness


class Probes:
    """One task for each instance that is asked; `told` is called on the loop with app, instance and reason.

    `asked` counts the answers, by app and whether they were of health.
    """

    def __init__(self, tasks: asyncio.TaskGroup, told: Callable[[str, str, str | None], None]) -> None:
        self._tasks = tasks
        self._told = told
        self.asked: Counter[tuple[str, bool]] = Counter()
        self._asking: dict[str, dict[str, tuple[Probe, asyncio.Task[None]]]] = {}

    def ask(self, app: str, questions: Mapping[str, Probe]) -> None:
        """From now on ask exactly these instances of the app, by id, these questions."""
        asking = self._asking.get(app, {})
        for instance in [i for i, (question, _) in asking.items() if questions.get(i) != question]:
            asking.pop(instance)[1].cancel()
        for instance, question in questions.items():
            if instance not in asking:
                count, tell = partial(self._count, app), partial(self._told, app, instance)
                task = self._tasks.create_task(_watch(question, count, tell))
                self._asking.setdefault(app, {})[instance] = (question, task)
        if not self._asking.get(app, True):
            del self._asking[app]

    def _count(self, app: str, well: bool) -> None:
        self.asked[app, well] += 1


async def _watch(question: Probe, count: Callable[[bool], None], tell: Callable[[str | None], None]) -> None:
    """Ask for ever; `tell` is called with a reason after so many failures in a row, and with None when it is well."""
    failures = 0
    while True:
        await asyncio.sleep(question.liveness.interval_s)
        reason = await _ask(question)
        count(reason is None)
        failures = 0 if reason is None else failures + 1
        if reason is None:
            tell(None)
        elif failures >= question.liveness.failures:
            tell(f"{reason}, {failures} times in a row")


async def _ask(question: Probe) -> str | None:
    """Why the answer is not one of health, None when it is."""
    path, timeout_s = question.health.path, question.health.timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            said = await _first_bytes(question)
    except TimeoutError:
        return f"GET {path} did not answer within {timeout_s:g} s"
    except OSError as error:
        return f"GET {path} failed: {error.strerror or error}"
    line, _, rest = said.partition(b"\r\n")
    words = line.decode("latin-1").split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        return f"GET {path} was answered with no HTTP"
    if words[1].startswith("2"):
        return None
    body = " ".join(rest.partition(b"\r\n\r\n")[2].decode("utf-8", "replace").split())
    return f"GET {path} answered {' '.join(words[1:])}{': ' + body if body else ''}"


async def _first_bytes(question: Probe) -> bytes:
    host = "127.0.0.1" if question.address.host in ("0.0.0.0", "localhost") else question.address.host
    reader, writer = await asyncio.open_connection("::1" if host == "::" else host, question.address.port)
    try:
        request = (
            f"GET {question.health.path} HTTP/1.1\r\nHost: {question.host}\r\n"
            "User-Agent: reconciler-health\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode("ascii", "replace"))
        await writer.drain()
        said = b""
        while len(said) < _FIRST_BYTES and (more := await reader.read(_FIRST_BYTES)):
            said += more
        return said
    finally:
        writer.transport.abort()
