"""Tell the service manager how the daemon is, by datagrams to the socket it named (sd_notify(3)).

Without such a socket nothing is sent. A datagram that cannot be sent stops nothing: the watchdog notices.
"""

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import MutableMapping


def version() -> int:
    """Return the version of systemd that is installed, 0 without one. Blocks for a moment."""
    import subprocess  # the daemon needs none of it

    try:
        told = subprocess.run(["systemctl", "--version"], capture_output=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(rb"systemd ([0-9]{1,6})", told)
    return int(found[1]) if found else 0


class ServiceManager:
    """The other end of NOTIFY_SOCKET. Its variables are taken out of `environ`, so that no child inherits them."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        meant_for = environ.pop("WATCHDOG_PID", "")
        mine = meant_for in {"", str(os.getpid())}
        watches = mine and microseconds.isdecimal() and bool(self._address)
        self._alive_every_s = int(microseconds) / 2e6 if watches and int(microseconds) else 0.0
        self._status = ""

    @property
    def listens(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

    def ready(self) -> None:
        """Report that instances are adopted and the manifests are read."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that the manifests are read again, until `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Send the line that `systemctl status` shows, if it differs from the last."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    async def stay_alive(self) -> None:
        """Feed the watchdog from the loop itself, twice in the time allowed: a loop that hangs feeds nothing."""
        while self._alive_every_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._alive_every_s)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.setblocking(False)
            ours.sendto(text.encode(), address)
