"""Call the kernel where Python has no function for it; every call raises OSError as those of `os` do.

Little is imported: a process that is about to become another program loads this first.
"""

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_with_each = ctypes.CDLL(None, use_errno=True).syscall
_with_each.restype = ctypes.c_long
_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_open = ctypes.CDLL(None, use_errno=True).open
_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
_BUFFERS: "dict[int, type[ctypes.Array[ctypes.c_char]]]" = {}  # a type is long to make
_with_each.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long]


def call(number: int, *arguments: "int | bytes | None") -> int:
    """Make a system call by its number; bytes are passed by their address. Returns its result."""
    return _checked(_LIBC.syscall(ctypes.c_long(number), *map(_passed, arguments)))


def call_with_each(number: int, first: int, second: int, contents: "list[bytes]") -> None:
    """Make a system call for each of these contents, which is its third argument; the fourth is 0."""
    for content in contents:
        _checked(_with_each(number, first, second, content, 0))


def call_libc(name: str, *arguments: "int | bytes | None") -> int:
    """Call a function of the C library that returns -1 and sets errno."""
    return _checked(getattr(_LIBC, name)(*map(_passed, arguments)))


def opening_fails(path: str, flags: int) -> int:
    """Return the error number with which a file cannot be opened, or made and opened; 0 if it was. It is closed."""
    descriptor = _open(os.fsencode(path), flags, 0o600)
    if descriptor < 0:
        return ctypes.get_errno()
    os.close(descriptor)
    return 0


def prctl(option: int, argument: int) -> int:
    """Have the kernel change what it knows of this process, as the manual says of that function."""
    return _checked(_prctl(option, argument, 0, 0, 0))


def address_of(content: bytes) -> "tuple[object, int]":
    """Return a buffer with this content, to be kept as long as it is used, and its address."""
    size = len(content)
    if size not in _BUFFERS:
        _BUFFERS[size] = ctypes.c_char * size
    buffer = _BUFFERS[size]()
    buffer.raw = content
    return buffer, ctypes.addressof(buffer)


def _passed(value: "int | bytes | None") -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
