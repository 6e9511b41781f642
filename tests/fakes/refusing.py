"""Run `reconciler` where the kernel refuses pidfd_getfd(2), as with kernel.yama.ptrace_scope=1 for a normal user.

usage: python -m tests.fakes.refusing COMMAND…
"""

import ctypes
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_LOAD_NUMBER, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _ERRNO, _EPERM = 0x7FFF0000, 0x00050000, 1
_PIDFD_GETFD = 438


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse() -> None:
    """From now on, in this process and whatever it starts, pidfd_getfd(2) ends with EPERM."""
    steps = [(_LOAD_NUMBER, 0, 0, 0), (_EQUAL, 0, 1, _PIDFD_GETFD), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    block = b"".join(struct.pack("HBBI", *step) for step in [*steps, (_RETURN, 0, 0, _ALLOW)])
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
