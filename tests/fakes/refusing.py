"""Run `reconciler` where the kernel refuses pidfd_getfd(2), as with kernel.yama.ptrace_scope=1 for a normal user.

usage: python -m tests.fakes.refusing COMMAND…
"""

import ctypes
import platform
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_NUMBER, _OPTION = 0, 32  # where the number of the call is, and its third argument
_ALLOW, _ERRNO, _EPERM = 0x7FFF0000, 0x00050000, 1
_PIDFD_GETFD = 438
_SETSOCKOPT, _ATTACH = {"x86_64": 54, "aarch64": 208}, 51  # SO_ATTACH_REUSEPORT_CBPF


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse() -> None:
    """From now on, in this process and whatever it starts, pidfd_getfd(2) ends with EPERM."""
    _refuse([(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 1, _PIDFD_GETFD)])


def refuse_to_divide() -> None:
    """From now on, in this process and whatever it starts, no program is attached to a group of sockets."""
    number = _SETSOCKOPT[platform.machine()]
    _refuse([(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 3, number), (_LOAD, 0, 0, _OPTION), (_EQUAL, 0, 1, _ATTACH)])


def _refuse(which: list[tuple[int, int, int, int]]) -> None:
    """Refuse what these steps find; they go on behind the next one if they find something else."""
    steps = [*which, (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]
    block = b"".join(struct.pack("HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(block, len(block))
    program = _Program(length=len(block) // 8, filter=ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0) == 0


if __name__ == "__main__":
    from reconciler.cli.main import main

    refuse()
    main()
