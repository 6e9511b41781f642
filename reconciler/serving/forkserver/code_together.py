"""Put the code that forked processes run in few pages: Python notes in the code of a function how often it ran.

It runs in every CPython from 3.8 on.
"""

import gc
import types

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from collections.abc import Mapping

_NONE: "Mapping[str, str]" = {}


def put_together(
    packages: "set[str]", first: "Mapping[str, str]" = _NONE, program: "types.CodeType | None" = None
) -> "types.CodeType | None":
    """Copy the code of all functions in modules of these packages, one behind the other, and return that of a program.

    Before them come the program, and the functions of any module that are named to come `first`, by module. What is
    free in memory has been filled before, or copies would be put there.
    """
    named = {f"{module} {name}" for module, names in first.items() for name in names.split()}
    begin, others = [], []  # type: list[types.FunctionType], list[types.FunctionType]
    for each in gc.get_objects():
        if type(each) is types.FunctionType:  # and no proxy of one
            if f"{each.__module__} {each.__qualname__}" in named:
                begin.append(each)
            elif str(each.__module__).partition(".")[0] in packages:
                others.append(each)
    replaced = []  # what is freed meanwhile would be the place of the next copy
    copy = None if program is None else _copy_of(program)
    for function in (*begin, *others):
        replaced.append(function.__code__)
        function.__code__ = _copy_of(function.__code__)
    return copy


def _copy_of(code: types.CodeType) -> types.CodeType:
    """Return a copy, with copies of the code that it has inside."""
    inside = tuple(_copy_of(each) if isinstance(each, types.CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=inside)
