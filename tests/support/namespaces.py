"""Hosts of one test that share nothing but a wire: a network namespace for each, and one in which a server listens.

They are made by root with `ip`, under names of their own, and are gone with the context.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER = "10.77.0.1"
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces `PREFIX-0`, `PREFIX-1`, …, each wired to `PREFIX-hub`."""

    prefix: str

    def words(self, number: int) -> list[str]:
        """What stands before a command that is to run on a host."""
        return ["ip", "netns", "exec", f"{self.prefix}-{number}"]

    def cut(self, number: int, *, off: bool) -> None:
        """Cut a host off, or wire it up again."""
        _ip("-n", f"{self.prefix}-hub", "link", "set", f"v{number}", "down" if off else "up")

    def at_the_hub(self) -> AbstractContextManager[None]:
        """Have this thread make its sockets where the server listens."""
        return sockets_in(f"/run/netns/{self.prefix}-hub")


@contextlib.contextmanager
def sockets_in(network: str) -> Iterator[None]:
    """Have this thread make its sockets in the network of this file."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(network, os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(there)


def missing() -> str:
    """Why there can be none here, empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "network namespaces need ip (iproute2)"
    tried = f"rc{os.getpid()}-try"
    done = subprocess.run(["ip", "netns", "add", tried], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", tried], capture_output=True, check=False)
    return "" if done.returncode == 0 else "this machine lets nobody make network namespaces"


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[Namespaces]:
    """So many hosts; skips the test where there can be none."""
    if why := missing():
        pytest.skip(why)
    found = Namespaces(f"rc{os.getpid()}")
    hub = f"{found.prefix}-hub"
    made: list[str] = []
    try:
        _ip("netns", "add", hub)
        made.append(hub)
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", hub, "addr", "add", f"{SERVER}/24", "dev", "br0")
        _up(hub, "br0", "lo")
        for number in range(count):
            host, wire = f"{found.prefix}-{number}", f"v{number}"
            _ip("netns", "add", host)
            made.append(host)
            _ip("-n", hub, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", hub, "link", "set", wire, "master", "br0")
            _ip("-n", host, "addr", "add", f"10.77.0.{number + 2}/24", "dev", "eth0")
            _up(hub, wire)
            _up(host, "eth0", "lo")
        yield found
    finally:
        for each in reversed(made):
            subprocess.run(["ip", "netns", "del", each], capture_output=True, check=False)


def _up(namespace: str, *devices: str) -> None:
    for each in devices:
        _ip("-n", namespace, "link", "set", each, "up")


def _ip(*words: str) -> None:
    done: subprocess.CompletedProcess[str] = _run(("ip", *words))
    assert done.returncode == 0, done.stderr


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=30, cwd=Path("/"))


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter the namespace, {threading.current_thread().name}")
