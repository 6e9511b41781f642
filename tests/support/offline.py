"""Run in a network namespace of its own, where nothing but this host can be reached: apply, print a page, stop.

usage: unshare -n python -m tests.support.offline MANIFESTS STATE PORT
"""

import fcntl
import socket
import struct
import subprocess
import sys

from tests.support.eventually import eventually
from tests.support.site import get

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h


def main(manifests: str, state: str, port: int) -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP, b""))
    reconciler = (sys.executable, "-m", "reconciler")
    applied = subprocess.run(
        [*reconciler, "apply", "--manifests", manifests, "--state", state], capture_output=True, text=True, check=False
    )
    try:
        assert applied.returncode == 0, applied.stdout + applied.stderr
        print(eventually(lambda: get(port), 30))
    finally:
        subprocess.run([*reconciler, "down", "--state", state], capture_output=True, check=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
