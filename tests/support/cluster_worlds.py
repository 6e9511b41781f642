"""Apps in a cluster without a daemon: its World, a controller, the client, and an API server that tests script."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from reconciler.cluster.api.client import Client
from reconciler.cluster.api.kubeconfig import Access, access_of
from reconciler.cluster.moves import Standings
from reconciler.cluster.observed import Rendered
from reconciler.cluster.ownership import APP, key_of, manager_of
from reconciler.cluster.target import Target
from reconciler.cluster.world import ClusterWorld
from reconciler.convergence.backoff import Backoff
from reconciler.convergence.controller import Controller
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.host.app_places import AppPlaces
from reconciler.host.process_verdicts import ProcessVerdicts
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.settings.clusters import Cluster
from reconciler.state.journal import Journal
from reconciler.state.schema import open_database
from tests.support.exported import TARGET, app_of, export
from tests.support.kube_api import KubeApi, kubeconfig

_BACKOFF = Backoff(first_s=0.05, cap_s=0.5)
_NAME = "placed-app"  # in the objects of the one app that all others are like


class _Places:
    def __init__(self) -> None:
        self.verdicts = ProcessVerdicts()
        self.revisions: dict[str, Revision] = {}

    def revision(self, app: str) -> Revision | None:
        return self.revisions.get(app)

    def state(self, app: App) -> str:
        return app.state


class PlacedApps:
    """Any number of apps like one of these fields, which only differ in their names and in what is edited."""

    def __init__(self, fields: Mapping[str, Any], *targets: Target, also: tuple[Mapping[str, Any], ...] = ()) -> None:
        self._app = app_of({**fields, "name": _NAME, "place": "prod"})
        made: dict[tuple[str, str], Any] = {key_of(each): each for each in also}
        for target in targets or (TARGET,):
            exported = export({**fields, "name": _NAME, "place": "prod"}, target)
            assert not exported.refusals, [str(each) for each in exported.refusals]
            made |= {key_of(each): each for each in exported.objects}
        labels = {APP: _NAME}
        for each in made.values():
            each["metadata"] = {**each["metadata"], "labels": {**labels, **each["metadata"].get("labels", {})}}
        self._objects = json.dumps([*made.values()])
        self._places = _Places()
        self.overlaps: dict[str, float] = {}
        self._standings = Standings(self.overlaps)
        self.desired: dict[str, App] = {}

    def add(self, *names: str, content: str = "1", place: str = "prod") -> None:
        """Have apps of these names, or others of them."""
        for name in names:
            self.desired[name] = replace(self._app, name=name, env={"CONTENT": content}, place=place)
            self._places.revisions[name] = self.desired[name].revision(content)

    async def render(self, cluster: Cluster, app: App, revision: Revision) -> Rendered:
        """Return the objects of an app; each revision has others."""
        assert cluster.name == app.place
        objects = json.loads(self._objects.replace(_NAME, app.name))
        for each in objects:
            if each["kind"] == "Deployment":
                each["spec"]["template"]["metadata"]["labels"]["content"] = revision.build.content
        return Rendered(app=app, revision=revision.id, objects=tuple(objects))

    # What the rest of a daemon tells.

    @property
    def standings(self) -> Standings:
        return self._standings

    @property
    def places(self) -> AppPlaces:
        return cast("AppPlaces", self._places)

    def held(self, app: str) -> bool:
        return False

    def is_met_here(self, app: str) -> bool:
        return False

    def answers_here(self, app: str) -> bool:
        return False

    def is_waited_for(self, app: str) -> bool:
        return False

    def in_force_since(self, app: str, revision: str) -> float | None:
        found = self._places.revisions.get(app)
        return 0.0 if found is not None and found.id == revision else None

    def wake(self, app: str) -> None:
        """Its own World would look at it."""


class Converging:
    """The World of one cluster, kept as desired."""

    def __init__(self, world: ClusterWorld, controller: Controller, apps: PlacedApps, client: Client) -> None:
        self.world, self._controller, self._apps, self.client = world, controller, apps, client
        self.told: list[str] = []

    def follow(self) -> None:
        """Desire the apps as they are now."""
        asked = self.world.follow(Catalog(apps=dict(self._apps.desired)))
        self._controller.replace(asked, also=self.world.names())

    def look(self, *names: str) -> None:
        """Plan apps as they are, without doing anything."""
        for name in names:
            self.world.plan(name, self._apps.desired.get(name))

    def said(self) -> str:
        """Return all that was said of apps."""
        verdicts = self._apps.places.verdicts
        return "\n".join([*(str(verdicts.of(name)) for name in self._apps.desired), *self.told])

    def restarts(self, name: str) -> list[int]:
        """Return how often each pod of an app was restarted, as it was seen last."""
        pods = self.world.observe(name).pods
        return [int(each["status"]["containerStatuses"][0]["restartCount"]) for each in pods]

    def unsettled(self) -> list[str]:
        """Return the apps that are not as desired."""
        return [name for name, app in self._apps.desired.items() if not self.world.plan(name, app).settled]


@asynccontextmanager
async def converging(
    directory: Path,
    api: KubeApi,
    apps: PlacedApps,
    name: str = "prod",
    overlap_s: float = 0.0,
    pods_at: int = 0,
) -> AsyncIterator[Converging]:
    """Keep apps as desired in the cluster of an API server; their pods are those of another one if a port is given."""
    directory = directory / name
    directory.mkdir(exist_ok=True)
    apps.overlaps[name] = overlap_s
    cluster = Cluster(
        name=name,
        kubeconfig=kubeconfig(directory, f"http://127.0.0.1:{api.port}"),
        namespace="web",
        registry="registry.example.com/web",
        overlap_s=overlap_s,
    )
    given = (partial(access_of, cluster.kubeconfig, ""), "web", manager_of("here"))
    client = _WithPodsOf(pods_at, *given) if pods_at else Client(*given)
    with closing(open_database(directory / "state.db")) as database:
        journal = Journal(database)
        world = ClusterWorld(
            cluster, client, journal, installation="here", directory=directory / "clusters",
            neighbours=apps, render=apps.render,
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                noise = random.Random(1)
                tasks = StandingTasks(group, backoff=_BACKOFF, noise=noise)
                controller = Controller(world, world.wakeups, tasks, backoff=_BACKOFF, resync_s=3600.0, noise=noise)
                world.begin(tasks)
                found = Converging(world, controller, apps, client)
                journal.followers.append(lambda event: found.told.append(event.text))
                found.follow()
                yield found
                raise _Done
        except* _Done:
            pass
        finally:
            world.close()


class _WithPodsOf(Client):
    """Asks another server of this host for pods."""

    def __init__(self, port: int, *given: Any) -> None:
        super().__init__(*given)
        self._other = Client(lambda: Access(host="127.0.0.1", port=port), *given[1:])

    async def list(self, kind: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        return await (self._other.list if kind == "Pod" else super().list)(kind, selector)

    def watch(
        self, kind: str, selector: str, version: str, timeout_s: int
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        return (self._other.watch if kind == "Pod" else super().watch)(kind, selector, version, timeout_s)

    def close(self) -> None:
        self._other.close()
        super().close()


class _Done(Exception):
    """Ends what is kept."""
