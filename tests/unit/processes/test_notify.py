"""What a process says at its NOTIFY_SOCKET, and what its silence means."""

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from reconciler.processes.notify import NotifySockets
from reconciler.serving.live_instance import LiveInstance


def _live() -> LiveInstance:
    record = SimpleNamespace(id="a", key="shop/worker", pid=1, stopping_since=None)
    return cast("LiveInstance", SimpleNamespace(record=record, end=None, unhealthy=None, says_ready=False))


def _say(path: Path, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(text, str(path))


def _hung(tmp_path: Path, *said: bytes, says_ready: bool) -> str | None:
    """Why the instance counts as hung once it has changed, or after half a second."""

    async def story() -> str | None:
        changed = asyncio.Event()
        sockets, live = NotifySockets(lambda _: changed.set()), _live()
        path = tmp_path / "notify-1"
        sockets.listen(live, sockets.open(path), 0.1, says_ready=says_ready)
        for text in said:
            _say(path, text)
        until = asyncio.get_running_loop().time() + 0.5
        while cast("Any", live).unhealthy is None and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        sockets.close("a")
        assert not path.exists()
        return live.unhealthy

    return asyncio.run(story())


def test_the_watchdog_of_one_that_says_when_it_is_ready_begins_then(tmp_path: Path) -> None:
    assert _hung(tmp_path, says_ready=True) is None
    assert _hung(tmp_path, b"READY=1\n", says_ready=True) == "it did not say WATCHDOG=1 for 0.1 s"


def test_the_watchdog_of_any_other_begins_with_it(tmp_path: Path) -> None:
    assert _hung(tmp_path, says_ready=False) == "it did not say WATCHDOG=1 for 0.1 s"
