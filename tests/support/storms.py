"""A storm of events of pods, thrown at a rate by a process of its own that serves their list and their watch alone.

Each event says when it was due, by the monotonic clock: what is not taken in as fast as it is thrown falls behind that.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reconciler.cluster.ownership import APP, INSTALLATION

DUE = "test/due"
_EVERY_S = 0.01


@contextmanager
def storm(apps: Sequence[str], pods_of_each: int, rate: int, for_s: float) -> Iterator[int]:
    """Serve pods of apps, and throw so many events of them a second once they are watched; yield the port."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_main, args=(theirs, tuple(apps), pods_of_each, rate, for_s), daemon=True
    )
    process.start()
    try:
        yield int(ours.recv())
    finally:
        process.kill()
        process.join()


def due(pod: Any) -> float:
    """When an event was due that a pod was last seen by; 0 for one of the list."""
    return float(pod["metadata"].get("annotations", {}).get(DUE) or 0)


def _main(told: Any, apps: tuple[str, ...], pods_of_each: int, rate: int, for_s: float) -> None:
    asyncio.run(_serve(told, _Storm(apps, pods_of_each, rate, for_s)))


async def _serve(told: Any, of: "_Storm") -> None:
    server = await asyncio.start_server(of.answer, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Storm:
    def __init__(self, apps: tuple[str, ...], pods_of_each: int, rate: int, for_s: float) -> None:
        self._pods = [_pod(app, number) for number in range(pods_of_each) for app in apps]
        self._rate, self._for_s = rate, for_s

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "watch" not in parse_qs(urlsplit(head.split(" ")[1]).query):
            body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": self._pods}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        begun, thrown = time.monotonic(), 0
        while thrown < self._rate * self._for_s:
            wanted = int((time.monotonic() - begun) * self._rate)
            writer.write(b"".join(self._line(number, begun) for number in range(thrown, wanted)))
            await writer.drain()
            thrown = max(thrown, wanted)
            await asyncio.sleep(_EVERY_S)
        await asyncio.sleep(3600)

    def _line(self, number: int, begun: float) -> bytes:
        pod = self._pods[number % len(self._pods)]
        metadata = pod["metadata"]
        metadata["resourceVersion"] = str(number + 2)
        metadata["annotations"] = {DUE: str(begun + number / self._rate)}
        pod["status"]["containerStatuses"][0]["restartCount"] = number
        return json.dumps({"type": "MODIFIED", "object": pod}).encode() + b"\n"


def _pod(app: str, number: int) -> dict[str, Any]:
    """Return a pod about as long as those of a cluster are."""
    labels = {APP: app, INSTALLATION: "here", "reconciler.dev/part": "web"}
    times = "2026-01-01T00:00:00Z"
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "kind": "Pod",
        "metadata": {"name": f"{app}-{number}", "uid": f"{app}-{number}", "labels": labels, "creationTimestamp": times},
        "spec": {"nodeName": f"node-{number}", "containers": [{"name": "web", "image": "r" * 120, "args": ["x"] * 40}]},
        "status": {
            "phase": "Running",
            "podIP": "10.64.0.1",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": times} for kind in kinds],
            "containerStatuses": [
                {"name": "web", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": times}}}
            ],
        },
    }
