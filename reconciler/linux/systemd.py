"""What the service manager should know in; datagrams to the socket it named out, as sd_notify(3) says.

Without such a socket nothing is sent, and what cannot be sent stops nothing: the watchdog is what notices.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class ServiceManager:
    """The other end of NOTIFY_SOCKET. Taking its variables out of `environ` keeps them from whatever is started."""

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
        """Whether there is one to be told anything."""
        return bool(self._address)

    def ready(self) -> None:
        """What runs was taken back, and the manifests were looked at."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The manifests are looked at again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same again is not sent."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    async def stay_alive(self) -> None:
        """Say so from the loop itself, twice in the time allowed: a loop that hangs says nothing."""
        while self._alive_every_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._alive_every_s)

    def _send(self, words: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.setblocking(False)
            ours.sendto(words.encode(), address)
