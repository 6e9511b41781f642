"""Close descriptors by their numbers, whatever they are."""

import os

from reconciler.linux.kernel_calls import call

_CLOSE_RANGE = 436
_HIGHEST = (1 << 31) - 1


def close_from(first: int, kept: "set[int]") -> None:
    """Close every descriptor from a number on but those that are kept."""
    try:
        for number in sorted(each for each in kept if each >= first):
            if number > first:
                call(_CLOSE_RANGE, first, number - 1, 0)
            first = number + 1
        call(_CLOSE_RANGE, first, _HIGHEST, 0)
    except OSError:  # a kernel before 5.9
        _close_each(first, kept)


def _close_each(first: int, kept: "set[int]") -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  names are all there is to know
        if int(name) >= first and int(name) not in kept:
            try:  # noqa: SIM105  contextlib would have to be loaded
                os.close(int(name))
            except OSError:  # that of the listing
                pass
