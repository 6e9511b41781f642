"""Deliver messages to one target, one at a time and each within a bounded time."""

from collections.abc import Sequence

from reconciler.notifications.digest import Entry
from reconciler.notifications.own_thread import OwnThread
from reconciler.notifications.target import NotSent, Target, reason

_WITHIN_S = 10.0


class Delivery:
    """Delivers messages of `host` to one target, each within so many seconds."""

    def __init__(self, target: Target, host: str, *, within_s: float = _WITHIN_S) -> None:
        self._target = target
        self._host = host
        self._within_s = within_s
        self._thread = OwnThread(f"notify {target}")

    async def send(self, entries: Sequence[Entry]) -> None:
        """Try once; raises NotSent, which contains nothing secret."""
        try:
            await self._target.send(entries, self._host, self._thread, self._within_s)
        except TimeoutError:
            raise NotSent(f"no answer within {self._within_s:g} s") from None
        except (OSError, RuntimeError, MemoryError) as error:  # no thread, process or descriptor is left
            raise NotSent(reason(error)) from None
