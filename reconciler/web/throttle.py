"""A limit on wrong tokens for each address, so that no client guesses fast and none keeps another from logging in."""

import time
from collections import OrderedDict

from reconciler.web.responses import Problem

_TRIES = 10.0
_TRY_EVERY_S = 6.0
_MOST_ADDRESSES = 4096


class Throttle:
    """Each address may try ten wrong tokens, and then one every six seconds."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Problem when an address has no try left."""
        if (left := self._left(address)) < 1.0:
            wait_s = int((1.0 - left) * _TRY_EVERY_S) + 1
            raise Problem(
                429, f"too many wrong tokens from your address: try again in {wait_s} s", {"Retry-After": str(wait_s)}
            )

    def count(self, address: str) -> None:
        """Count a wrong token."""
        self._tries[address] = max(0.0, self._left(address) - 1.0), time.monotonic()
        self._tries.move_to_end(address)
        while len(self._tries) > _MOST_ADDRESSES:
            self._tries.popitem(last=False)

    def _left(self, address: str) -> float:
        left, at = self._tries.get(address, (_TRIES, 0.0))
        return min(_TRIES, left + (time.monotonic() - at) / _TRY_EVERY_S)
