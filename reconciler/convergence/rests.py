"""Rest after what others decide how long it takes, so that it keeps nothing else waiting on the loop."""

import asyncio

_TIMES = 4.0  # as long as it took


class Rests:
    """Rests of one kind of work, one after the other: what several do takes no more than what one does."""

    def __init__(self) -> None:
        self._until = 0.0

    def after(self, took_s: float) -> float:
        """Return for how long to rest after work that took so long, and after all that rests already."""
        now = asyncio.get_running_loop().time()
        self._until = max(now, self._until) + _TIMES * took_s
        return self._until - now

    async def rest(self, took_s: float) -> None:
        """Rest for that long."""
        await asyncio.sleep(self.after(took_s))
