"""Put the code that forked processes run in few pages: Python notes in the code of a function how often it ran.

It runs in every CPython from 3.8 on.
"""

import gc
import types


def put_together(packages: "set[str]") -> None:
    """Copy the code of all functions in modules of these packages, one behind the other.

    What is free in memory has been filled before, or copies would be put there.
    """
    replaced = []  # what is freed meanwhile would be the place of the next copy
    for each in gc.get_objects():
        if isinstance(each, types.FunctionType) and str(each.__module__).partition(".")[0] in packages:
            replaced.append(each.__code__)
            each.__code__ = _copy_of(each.__code__)


def _copy_of(code: types.CodeType) -> types.CodeType:
    """Return a copy, with copies of the code that it has inside."""
    inside = tuple(_copy_of(each) if isinstance(each, types.CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=inside)
