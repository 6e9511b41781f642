"""Read of apps in clusters what commands show: what their pods write, and what they use. Changes nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.cluster.api.client import ApiError, Client, client_of
from reconciler.cluster.api.questions import log_of, pods_of, use_of
from reconciler.cluster.ownership import APP, INSTALLATION, PART, amount, app_of
from reconciler.cluster.rollout import is_ready
from reconciler.linux.dataclass import dataclass
from reconciler.settings.clusters import Cluster
from reconciler.state.paths import StatePaths

_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLine:
    """A line that a pod wrote."""

    pod: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What the pods of an app use: cores and bytes, None where the cluster measures neither."""

    pods: int
    ready: int
    cores: float | None
    memory: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What an installation has in one cluster."""

    cluster: Cluster
    installation: str

    def client(self) -> Client:
        """Return a client, to be closed."""
        return client_of(self.cluster, "reconciler")

    async def lines(self, app: str, part: str, asked: Mapping[str, str], print_line: Callable[[PodLine], None]) -> int:
        """Print what the pods of a part of an app have written, a pod after the other; return how many there are.

        `asked` are parameters of the log of a pod. Raises ApiError.
        """
        client = self.client()
        try:
            pods = [str(pod["metadata"]["name"]) for pod in await pods_of(client, self._selector(app, part))]
            for pod in pods:
                async for text in log_of(client, pod, asked):
                    print_line(PodLine(pod=pod, text=text))
            return len(pods)
        finally:
            client.close()

    async def follow(
        self, app: str, part: str, asked: Mapping[str, str], print_line: Callable[[PodLine], None]
    ) -> None:
        """Print what pods write, also those that come, until cancelled. Raises ApiError."""
        client = self.client()
        followed: set[str] = set()

        async def follow_one(pod: str, first: Mapping[str, str]) -> None:
            try:
                async for text in log_of(client, pod, {**first, "follow": "true"}):
                    print_line(PodLine(pod=pod, text=text))
            except ApiError:  # its container has not begun yet, or the pod is gone: the next look says which
                followed.discard(pod)

        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    for pod in await pods_of(client, self._selector(app, part)):
                        name = str(pod["metadata"]["name"])
                        if name not in followed:
                            followed.add(name)
                            tasks.create_task(follow_one(name, asked))
                    await asyncio.sleep(_AGAIN_S)
        finally:
            client.close()

    async def uses(self, apps: Sequence[str]) -> dict[str, Use]:
        """Return what the pods of each app use. Raises ApiError."""
        client = self.client()
        try:
            selector = f"{INSTALLATION}={self.installation}"
            pods = await pods_of(client, selector)
            try:
                measured = await use_of(client, selector)
            except ApiError:  # no metrics-server is installed, or this account may not ask it
                measured = {}
        finally:
            client.close()
        return {app: _use([pod for pod in pods if app_of(pod) == app], measured) for app in apps}

    def _selector(self, app: str, part: str) -> str:
        return f"{APP}={app},{PART}={part},{INSTALLATION}={self.installation}"


def reader_of(clusters: Mapping[str, Cluster], paths: StatePaths, app: str, installation: str) -> Reader | None:
    """Return what reads an app where it is, None for one that is in no cluster."""
    for name, cluster in clusters.items():
        if (paths.clusters / name / app).exists():
            return Reader(cluster=cluster, installation=installation)
    return None


def apps_in(paths: StatePaths, cluster: str) -> list[str]:
    """Return the apps of which something is in a cluster."""
    directory = paths.clusters / cluster
    return sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []


def _use(pods: list[Mapping[str, Any]], measured: Mapping[str, Mapping[str, str]]) -> Use:
    found = [measured[name] for pod in pods if (name := str(pod["metadata"]["name"])) in measured]
    return Use(
        pods=len(pods),
        ready=sum(map(is_ready, pods)),
        cores=float(_sum(found, "cpu")) if found else None,
        memory=int(_sum(found, "memory")) if found else None,
    )


def _sum(found: list[Mapping[str, str]], name: str) -> float:
    return float(sum(amount(each.get(name)) or 0 for each in found))
