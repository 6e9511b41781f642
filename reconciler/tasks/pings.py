"""Call the URLs that a schedule names when a task of it starts, succeeds or fails: in the background, with retries.

A host that does not answer delays no task, and no call of another host. A URL is a secret: it is read from its file for
each call, and stands in no log and in no message.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias
from weakref import WeakValueDictionary

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.planning.schedules.schedule import Schedule
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret_reader import SecretReader

When: TypeAlias = Literal["start", "ok", "failed"]

_THREADS, _OF_ONE_HOST = 16, 3
_WITHIN_S = 10.0
_TRIES = 5
_FIRST_S, _CAP_S = 1.0, 60.0
_MOST = 1000  # calls that are under way or wait for their next try; more are dropped


class Pings:
    """Makes the calls. `failed` is told of each that was given up, with the schedule, which call, and why."""

    def __init__(self, reader: SecretReader, failed: Callable[[Schedule, When, str], None]) -> None:
        self._reader = reader
        self._failed = failed
        self._threads = DaemonThreads("ping", _THREADS)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._calls: set[asyncio.Task[None]] = set()

    def call(self, schedule: Schedule, when: When) -> None:
        """Call the URL of a moment, if the schedule has one."""
        file = {"start": schedule.ping.start, "ok": schedule.ping.ok, "failed": schedule.ping.failed}[when]
        if file is None:
            return
        if len(self._calls) >= _MOST:
            self._failed(schedule, when, "too many calls wait for an answer")
            return
        call = asyncio.get_running_loop().create_task(self._called(schedule, when, Path(file)))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _called(self, schedule: Schedule, when: When, file: Path) -> None:
        why = ""
        for number in range(_TRIES):
            if number:
                delay_s: float = min(_CAP_S, _FIRST_S * 4.0 ** (number - 1))
                await asyncio.sleep(delay_s * (0.75 + 0.5 * random.random()))
            why = await self._tried(file)
            if not why:
                return
        self._failed(schedule, when, why)

    async def _tried(self, file: Path) -> str:
        """Call the URL in a file once; return why that did not work, "" if it did."""
        try:
            url = await self._in_thread(partial(_url, self._reader, file))
            async with self._hosts.setdefault(url.split("/")[2], asyncio.Semaphore(_OF_ONE_HOST)):
                return await self._in_thread(partial(_get, url))
        except Unusable as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {_WITHIN_S:g} s"
        except RuntimeError:
            return "no thread is left"

    async def _in_thread(self, work: Callable[[], str]) -> str:
        async with asyncio.timeout(2 * _WITHIN_S):
            return await asyncio.wrap_future(self._threads.run(work))


def _url(reader: SecretReader, file: Path) -> str:
    """Return the URL in a file. Raises Unusable."""
    url = reader.value_of(file).strip()
    if not url.startswith(("https://", "http://")):
        raise Unusable(f"what {file} holds does not begin with https:// or http://")
    return url


def _get(url: str) -> str:
    """Call a URL; return why that did not work, "" if it did. Never raises, and says nothing secret."""
    # Only a host whose schedules have such URLs loads what calls them.
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "reconciler"})  # noqa: S310  checked above
        with urllib.request.urlopen(request, timeout=_WITHIN_S, context=ssl.create_default_context()):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered {error.code}"
    except urllib.error.URLError as error:
        return _reason(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _reason(error)


def _reason(error: object) -> str:
    """Return what the kernel said, or the name of the error: its text may quote the URL."""
    if isinstance(error, TimeoutError):
        return f"no answer within {_WITHIN_S:g} s"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
