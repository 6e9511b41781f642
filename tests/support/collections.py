"""Collect no garbage of its own accord, as the interpreter does where it sees as many objects go as come."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def none_by_itself() -> Iterator[None]:
    """Leave it to the code under test to ask for a collection."""
    threshold = gc.get_threshold()
    gc.set_threshold(1 << 30)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
