"""Have a process use up the free memory between what it has: whatever it forks would get a copy of each page for that.

Both allocators of Python, its own for small objects and that of the C library, give out again what was freed last,
wherever it is. What a forked process needs is in few pages if no such place is left. It runs in every CPython from 3.8
on, and does nothing where an allocator is none that is known.
"""

import ctypes
import os
import sys

_SMALLEST, _LARGEST = 16, 512  # what Python's own allocator gives out, and in steps of the first
_POOL = 1 << 14 if sys.version_info >= (3, 10) else 1 << 12  # what it keeps for objects of one size
_HEADER, _IN_USE, _SIZE = 48, slice(0, 4), slice(36, 40)  # of a pool: struct pool_header of Objects/obmalloc.c
_FRESH = 8  # so few objects are in a pool that nothing but this has begun
_MOST = 1 << 22  # bytes of one size, and more than a fork server has
_BEFORE_MAPPED = 120_000  # larger ones the C library maps, each by itself
_LEAST = 8


class _Free(ctypes.Structure):
    """struct mallinfo2 of <malloc.h>, which glibc has since 2.33."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    ]


def fill_holes() -> None:
    """Use up what is free between what this process has, for as long as it lives."""
    try:
        _fill_pools()
        _fill_heap()
    except (OSError, AttributeError):  # another C library, or /proc tells nothing
        return


def _fill_pools() -> None:
    """Take memory of each size until a pool begins that had nothing of it."""
    give = ctypes.pythonapi.PyObject_Malloc
    give.restype, give.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)  # in which a wrong address is an error, and no end
    try:
        for size in range(_SMALLEST, _LARGEST + 1, _SMALLEST):
            for _ in range(_MOST // size):
                header = os.pread(memory, _HEADER, (give(size) or 0) & -_POOL)
                if _number(header[_SIZE]) != size // _SMALLEST - 1:
                    return  # as with PYTHONMALLOC, or a Python to come
                if _number(header[_IN_USE]) < _FRESH:
                    break
    finally:
        os.close(memory)


def _fill_heap() -> None:
    """Take memory of the C library, of each size from the largest on, until it comes from the end of its heap."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Free
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    found = libc.mallinfo2()
    end = libc.sbrk(0)
    top = end - found.keepcost
    size = min(found.fordblks - found.keepcost, _BEFORE_MAPPED) | _LEAST
    while size >= _LEAST:
        given = libc.malloc(size)
        if end - found.arena <= (given or 0) < top:
            continue
        libc.free(given)
        size -= _SMALLEST


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)
