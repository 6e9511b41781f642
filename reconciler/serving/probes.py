"""Probe serving instances through their listener, and count consecutive failures.

Planning decides what follows: a probe only reports that an instance is unhealthy, or healthy again.
"""

import asyncio
import re
import ssl  # of a daemon, loaded by the first look at it
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.linux.client_ports import connected_from
from reconciler.linux.dataclass import dataclass
from reconciler.linux.passed_files import connected_in_turn
from reconciler.planning.address import Address
from reconciler.planning.apps.app import Liveness
from reconciler.planning.apps.revision import Health
from reconciler.planning.wording import counted

_FIRST_BYTES = 512
_NO_WORK: "Work" = ()


# For each worker, how many requests it is at work on, and a number that changes whenever it has answered one.
Work: TypeAlias = tuple[tuple[int, float], ...]


class _Late(Exception):
    """A probe was not answered in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The request of a probe, where it goes, and how often.

    `tls` says that gunicorn was given a certificate; `busy_s` is how long one request may keep a worker busy. `ports`
    are those of which one is to be connected from, None for any.
    """

    address: Address
    health: Health
    host: str
    liveness: Liveness
    tls: bool = False
    busy_s: float = 30.0
    ports: range | None = None


class Probes:
    """One task for each probed instance; `told` is called on the loop with app, instance and reason, None if healthy.

    `asked` counts the probes, by app and whether they succeeded. `work` returns what an instance's workers are at.
    """

    def __init__(
        self,
        tasks: StandingTasks,
        told: Callable[[str, str, str | None], None],
        work: Callable[[str, str], Work],
    ) -> None:
        self._tasks = tasks
        self._told = told
        self._work = work
        self.asked: Counter[tuple[str, bool]] = Counter()
        self._running: dict[str, dict[str, tuple[Probe, asyncio.Task[None]]]] = {}

    def ask(self, app: str, probes: Mapping[str, Probe]) -> None:
        """Probe exactly these instances of the app from now on, by id."""
        running = self._running.get(app, {})
        for instance in [i for i, (probe, _) in running.items() if probes.get(i) != probe]:
            running.pop(instance)[1].cancel()
        for instance, probe in probes.items():
            if instance not in running:
                count, tell = partial(self._count, app), partial(self._told, app, instance)
                watch = partial(_watch, probe, count, tell, partial(self._work, app, instance))
                task = self._tasks.keep(f"probe {app}", watch)
                self._running.setdefault(app, {})[instance] = (probe, task)
        if not self._running.get(app, True):
            del self._running[app]

    def _count(self, app: str, healthy: bool) -> None:
        self.asked[app, healthy] += 1


async def _watch(
    probe: Probe, count: Callable[[bool], None], tell: Callable[[str | None], None], work: Callable[[], Work]
) -> None:
    """Probe for ever; call `tell` with a reason after so many consecutive failures, and with None after a success.

    A probe that is late because every worker is at work on a request proves nothing, as long as one may take.
    """
    failures, before, since = 0, _NO_WORK, 0.0
    while True:
        await asyncio.sleep(probe.liveness.interval_s)
        try:
            reason = await _failure(probe)
        except _Late as late:
            reason, now_at, now = str(late), work(), time.monotonic()
            if now_at != before:
                before, since = now_at, now
            if now_at and all(requests for requests, _ in now_at) and now - since < probe.busy_s:
                continue
        count(reason is None)
        failures = 0 if reason is None else failures + 1
        if reason is None:
            tell(None)
        elif failures >= probe.liveness.failures:
            tell(f"{reason}, {counted(failures, 'time')} in a row")


async def _failure(probe: Probe) -> str | None:
    """Send one probe; return why it failed, None if it succeeded. Raises _Late."""
    path, timeout_s = probe.health.path, probe.health.timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            said = await _first_bytes(probe, tls=probe.tls)
            if not probe.tls and not said.startswith(b"HTTP/"):  # a certificate may be set where no manifest shows it
                said = await _first_bytes(probe, tls=True)
    except TimeoutError:
        raise _Late(f"GET {path} did not answer within {timeout_s:g} s") from None
    except ssl.SSLError as error:
        if error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
            return None  # it serves, and whom is not ours to prove
        return f"GET {path} was answered neither in HTTP nor in TLS: {error.reason or error}"
    except OSError as error:
        return f"GET {path} failed: {error.strerror or error}"
    line, _, rest = said.partition(b"\r\n")
    words = line.decode("latin-1").split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        return f"GET {path} was not answered in HTTP"
    if words[1].startswith("2"):
        return None
    body = _readable(rest.partition(b"\r\n\r\n")[2].decode("utf-8", "replace"))
    return f"GET {path} answered {' '.join(words[1:])}{': ' + body if body else ''}"


def _readable(body: str) -> str:
    """Return the first part of a body on one line; of HTML, only the title."""
    if body.lstrip().startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", body, re.IGNORECASE)
        body = title[1] if title else ""
    return " ".join(body.split())


@lru_cache(maxsize=1)
def _any_certificate() -> "ssl.SSLContext":
    """Return a context that takes any certificate: whether it is valid is for clients to judge."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _connected(
    address: Address, tls: "ssl.SSLContext | None", ports: range | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if ports is not None:
        line = await connected_from(ports, address.reached_at, address.port)
        return await asyncio.open_connection(sock=line, ssl=tls, server_hostname=address.reached_at if tls else None)
    if not address.path:
        return await asyncio.open_connection(address.reached_at, address.port, ssl=tls)
    line = await connected_in_turn(Path(address.path))  # the probe is late if its queue stays full
    return await asyncio.open_unix_connection(sock=line, ssl=tls, server_hostname="localhost" if tls else None)


async def _first_bytes(probe: Probe, *, tls: bool) -> bytes:
    reader, writer = await _connected(probe.address, _any_certificate() if tls else None, probe.ports)
    try:
        request = (
            f"GET {probe.health.path} HTTP/1.1\r\nHost: {probe.host}\r\n"
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
