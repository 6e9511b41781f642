"""The marks of processes, which may say anything of themselves and as much as they like."""

import os
import subprocess
import sys

import pytest

from reconciler.linux.proc_files import proc_bytes
from reconciler.linux.regular_files import UnfitFile
from reconciler.serving.marks import marked

# Declares two gigabytes of zeros as its environment, as any process may.
_BOASTS = """
import ctypes, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = libc.mmap.restype = ctypes.c_void_p
size = 2 << 30
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0)
stat = ["", *open("/proc/self/stat").read().rpartition(")")[2].split()]
field = lambda number: int(stat[number - 2])
numbers = [*map(field, (26, 27, 45, 46, 47)), libc.sbrk(0), *map(field, (28, 48, 49)), at, at + size]
layout = (ctypes.c_uint64 * 13)(*numbers, 0, 0)
ctypes.cast(layout, ctypes.POINTER(ctypes.c_uint32))[25] = 0xFFFFFFFF  # no other executable
print("ready" if libc.prctl(35, 14, layout, ctypes.sizeof(layout), 0) == 0 else "refused", flush=True)
sys.stdin.read()
"""
_LOOKS = """
import resource, signal, sys
from reconciler.serving.marks import marked
signal.alarm(60)
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
print(list(marked("0" * 16, among=[int(sys.argv[1])])))
"""


def test_a_process_that_declares_gigabytes_as_its_environment_is_passed_over() -> None:
    with subprocess.Popen((sys.executable, "-c", _BOASTS), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as boasting:
        assert boasting.stdout is not None
        if boasting.stdout.readline().strip() != b"ready":
            pytest.skip("this kernel lets no process say where its environment is")
        command = (sys.executable, "-c", _LOOKS, str(boasting.pid))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        boasting.communicate()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def started(environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a process that lasts, and return it once the kernel shows its environment."""
    process = subprocess.Popen(("cat",), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    process.stdout.read(1)
    return process


def test_no_more_of_an_environment_is_read_than_asked_for() -> None:
    with started({"A": "x" * 100_000, "B": "y" * 100_000}) as process:
        path = f"/proc/{process.pid}/environ"
        assert proc_bytes(path).count(b"x") >= 100_000
        with pytest.raises(UnfitFile, match="larger than 128 KiB"):
            proc_bytes(path, 128 << 10)
        process.communicate()


def test_the_environment_of_another_users_process_is_not_read() -> None:
    environ = {"RECONCILER_STATE_ID": "0" * 16, "RECONCILER_INSTANCE": "1" * 12, "RECONCILER_APP": "shop"}
    with started(environ) as process:
        (mine,) = marked("0" * 16, among=[process.pid])
        assert mine.app == "shop"
        assert list(marked("0" * 16, os.geteuid() + 1, among=[process.pid])) == []
        process.communicate()
