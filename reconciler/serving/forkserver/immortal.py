"""Have a process count no references to what it has by now: whatever it forks would get a copy of each page for that.

None is such an object since CPython 3.12 (PEP 683): it is never freed, and its count never written. It runs in every
CPython from 3.8 on, and does nothing before 3.12.
"""

import ctypes
import gc
import sys
import types

_KNOWN = ((3, 12), (3, 13))  # of which the layout, and that extensions for earlier ones do no harm, have been looked at
_OF_CODE = (
    "co_consts", "co_names", "co_filename", "co_name", "co_qualname", "co_linetable", "co_exceptiontable",
)  # fmt: skip


def make_immortal() -> None:
    """Make immortal what the garbage collector knows of and has not been frozen, and all that this refers to.

    A call that is under way stays as it is, with all that nothing else refers to.
    """
    if sys.version_info[:2] not in _KNOWN or "t" in sys.abiflags:
        return
    never_counted = sys.getrefcount(None)
    found = [each for each in gc.get_objects() if not isinstance(each, types.FrameType)]
    for each in found:
        _count_of(each).value = never_counted
    for each in found:  # which grows meanwhile
        others = gc.get_referents(each)
        if isinstance(each, types.CodeType):  # of which the collector knows nothing
            others += [getattr(each, name) for name in _OF_CODE]
        for other in others:
            if sys.getrefcount(other) != never_counted and not isinstance(other, types.FrameType):
                _count_of(other).value = never_counted
                found.append(other)


def number_types() -> None:
    """Have Python give each type its number now, which it notes in the type as it first looks something up there."""
    for each in gc.get_objects():
        if issubclass(type(each), type):  # a proxy of one says that it is one, too
            try:  # noqa: SIM105  as little as may be runs between
                type.__getattribute__(each, "__reconciler__")
            except AttributeError:
                pass


def _count_of(thing: object) -> ctypes.c_ssize_t:
    """Return the number of references to an object, where it is: the object begins with it."""
    return ctypes.c_ssize_t.from_address(id(thing))
