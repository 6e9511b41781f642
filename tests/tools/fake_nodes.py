"""Nodes that run nothing: what a kubelet tells the API server, for as many nodes as are asked for, in one program.

Each registers itself and renews its lease. Pods that the scheduler gives them are running and ready a moment later,
each with an address of its own, and are gone a moment after they were told to end.

    python -m tests.tools.fake_nodes KUBECONFIG COUNT
"""

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.cluster.api.client import ApiError, Client
from reconciler.cluster.api.kubeconfig import access_of
from tests.tools.engine import GRACE_S

READY_AFTER_S = 0.2
_RENEWED_S = GRACE_S * 0.4
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_MOST_PODS = "110"


@contextmanager
def fake_nodes(config: Path, count: int, log: Path) -> Iterator[int]:
    """Have such nodes in a cluster; yield the pid of the program that they are."""
    words = [sys.executable, "-m", "tests.tools.fake_nodes", str(config), str(count)]
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


class FakeNodes:
    """The nodes of a cluster, and the pods on them."""

    def __init__(self, client: Client, count: int) -> None:
        self._client = client
        self._names = [f"fake-{number}" for number in range(count)]
        self._addresses = (
            f"10.{64 + a}.{b}.{c}" for a, b, c in itertools.product(range(64), range(256), range(1, 255))
        )
        self._known: set[str] = set()
        self._ending: set[str] = set()

    async def live(self) -> None:
        """Be these nodes until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in range(8):
                group.create_task(self._register(self._names[part::8]))
        print(f"{len(self._names)} nodes", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            group.create_task(self._follow(group))

    async def _register(self, names: list[str]) -> None:
        for name in names:
            await self._created("/api/v1/nodes", _node(name))
            await self._created(_LEASES, _lease(name))

    async def _created(self, path: str, made: dict[str, Any]) -> None:
        with suppress(ApiError):  # of a run before this one
            await self._client.ask("POST", path, made)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWED_S)
            for name in self._names:
                with suppress(ApiError):
                    await self._client.ask("PUT", f"{_LEASES}/{name}", _lease(name))

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        while True:
            version = ""
            with suppress(ApiError):
                found = await self._client.ask("GET", "/api/v1/pods")
                version = str(found["metadata"]["resourceVersion"])
                for pod in found["items"]:
                    self._look(pod, group)
                async for line in self._client.lines(f"/api/v1/pods?watch=1&resourceVersion={version}"):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    if event["type"] == "DELETED":
                        self._known.discard(event["object"]["metadata"]["uid"])
                        self._ending.discard(event["object"]["metadata"]["uid"])
                    else:
                        self._look(event["object"], group)
            await asyncio.sleep(0.2)

    def _look(self, pod: dict[str, Any], group: asyncio.TaskGroup) -> None:
        uid = str(pod["metadata"]["uid"])
        if not str(pod["spec"].get("nodeName") or "").startswith("fake-"):
            return
        if pod["metadata"].get("deletionTimestamp"):
            if uid not in self._ending:
                self._ending.add(uid)
                group.create_task(self._end(pod))
        elif uid not in self._known:
            self._known.add(uid)
            group.create_task(self._run(pod))

    async def _run(self, pod: dict[str, Any]) -> None:
        await asyncio.sleep(READY_AFTER_S)
        for _ in range(5):
            with suppress(ApiError):
                await self._client.ask("PUT", f"{_path(pod)}/status", {**pod, "status": _ready(pod, self._address())})
                return
            await asyncio.sleep(1)
            with suppress(ApiError):
                pod = {**pod, **await self._client.ask("GET", _path(pod))}

    def _address(self) -> str:
        return next(self._addresses)

    async def _end(self, pod: dict[str, Any]) -> None:
        await asyncio.sleep(READY_AFTER_S)
        now = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        with suppress(ApiError):
            await self._client.ask("DELETE", _path(pod), {**now, "preconditions": {"uid": pod["metadata"]["uid"]}})


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _node(name: str) -> dict[str, Any]:
    room = {"cpu": "32", "memory": "256Gi", "pods": _MOST_PODS}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _now()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {"capacity": room, "allocatable": room, "conditions": [ready], "nodeInfo": _INFO},
    }


_INFO = dict.fromkeys(
    (
        "architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion",
        "machineID", "operatingSystem", "osImage", "systemUUID",
    ),
    "fake",
)  # fmt: skip


def _lease(name: str) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": GRACE_S, "renewTime": now},
    }


def _ready(pod: dict[str, Any], address: str) -> dict[str, Any]:
    now = _now()
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "10.63.0.1",
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": each["image"],
                "containerID": f"fake://{pod['metadata']['uid']}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for each in pod["spec"]["containers"]
        ],
    }


async def _main(config: Path, count: int) -> None:
    client = Client(partial(access_of, config), "default", "fake-nodes")
    try:
        await FakeNodes(client, count).live()
    finally:
        client.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
