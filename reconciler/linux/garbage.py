"""Collect garbage in cycles at calm moments, and never look again at the many objects that stay.

The interpreter looks at all objects whenever there are a quarter more of them, in the middle of whatever is being done;
with thousands of apps that takes half a second. No code of ours runs within a collection: it would let another thread
in.
"""

import contextlib
import gc
from collections.abc import Iterator

# A look at so many takes some 10 ms; more are taken for what stays, and left out.
_MOST_LOOKED_AT = 30_000
# As long as there are so few in all, each look at many is one at all of them, which takes some 30 ms.
_ALL_LOOKED_AT = 100_000
# So many times as many as were left after the last look at all: what came may be gone, in cycles, and again and again.
_MANY_MORE = 3
# The interpreter waits for seven hundred more, which may be never where as many go as come.
_MOST_NEW = 5_000
_NEWEST, _MIDDLE, _OLDEST = 0, 1, 2
_NEVER = 1 << 30


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage while modules are loaded, and leave out of later collections what there is at the end."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # else the next collection would look at all of it
        if collects:
            gc.enable()


class CalmCollections:
    """Collections of all objects in this process, which happen within `collect` alone from `begin` on.

    The young ones, which are short and find most, are left to the interpreter. What is left out is freed by its count
    of references all the same; if it has become part of a cycle by then, while there are few objects in all, or once
    there are many more than after the last look at all of them.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._lasting = 0

    def begin(self) -> None:
        """Leave out what there is by now: the modules of the program."""
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        gc.freeze()
        self._seen = _middle_collections()
        self._lasting = gc.get_freeze_count()

    def collect(self) -> bool:
        """Collect what has outlived younger collections since the last time, or leave it out if that is very much.

        Return whether there was anything.
        """
        if len(gc.get_objects(generation=_NEWEST)) > _MOST_NEW:
            gc.collect(_MIDDLE)
        if _middle_collections() == self._seen:
            return False
        stay = len(gc.get_objects(generation=_OLDEST))
        if stay <= _MOST_LOOKED_AT:
            gc.collect()
        else:
            there_are = stay + gc.get_freeze_count()
            if looks_at_all := there_are <= _ALL_LOOKED_AT or there_are > _MANY_MORE * self._lasting:
                gc.unfreeze()
                gc.collect()
            else:
                gc.collect(_MIDDLE)
            gc.freeze()
            if looks_at_all:
                self._lasting = gc.get_freeze_count()
        self._seen = _middle_collections()
        return True


class PacedCollections:
    """Collections of new objects after every so many steps, where the same is done for thousands of names at once.

    The interpreter begins none where as many objects go as come.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._steps = 0

    def count(self, steps: int = 1) -> None:
        """Count a step, or what is as much as several."""
        self._steps += steps
        if self._steps >= self._every:
            self._steps = 0
            gc.collect(_MIDDLE)


def _middle_collections() -> int:
    """Return how often so many objects came to stay that the interpreter looked at more than the newest."""
    return int(gc.get_stats()[_MIDDLE]["collections"])
