"""Have what listens in one network namespace reached in another.

usage: python -m tests.tools.relay FROM_PID FROM_HOST PORT TO_PID TO_HOST PORT

A pid says in whose network; `self` is this process's own.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TOP = Path(__file__).parents[2]


@contextmanager
def relayed(at: tuple[str, str, int], to: tuple[str, str, int], log: Path) -> Iterator[None]:
    """Have what is at one place reached at another: each is a pid or `self`, a host and a port."""
    words = [sys.executable, "-m", "tests.tools.relay", *map(str, (*(_own(at)), *(_own(to))))]
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=_TOP)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _own(place: tuple[str, str, int]) -> tuple[str, str, int]:
    return (str(os.getpid()) if place[0] == "self" else place[0], *place[1:])


def _network(pid: str) -> int:
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)


def _enter(network: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(network, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network")


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while part := await source.read(65536):
            target.write(part)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except OSError:
        target.transport.abort()


async def _serve(listening: socket.socket, host: str, port: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
        writer.close()
        back.close()

    await (await asyncio.start_server(relay, sock=listening)).serve_forever()


def main(at: str, host: str, port: str, to: str, to_host: str, to_port: str) -> None:
    """Listen in one network, then enter the other."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    there, here = _network(at), _network(to)
    _enter(there)
    listening = socket.create_server((host, int(port)))
    _enter(here)
    asyncio.run(_serve(listening, to_host, int(to_port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
