"""An app that moves from one cluster to another: it serves in the first one until it serves in the second."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_worlds import Converging, PlacedApps, converging
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.kube_api import KubeApi, kube_api, rolled_out
from tests.support.owned_fields import Object

pytestmark = pytest.mark.contract

FIRST, SECOND = "prod", "staging"
_THERE = ["Deployment/shop", "Service/shop"]


def not_ready(made: Object) -> Object:
    """As it is while no pod is ready."""
    if made["kind"] == "Deployment":
        made["status"] = {"replicas": 1, "updatedReplicas": 1, "observedGeneration": made["metadata"]["generation"]}
    return made


class Both:
    """Two clusters, kept as the same manifests say."""

    def __init__(self, apps: PlacedApps, apis: tuple[KubeApi, KubeApi], worlds: tuple[Converging, Converging]) -> None:
        self.apps, self.apis, self.worlds = apps, apis, worlds

    def place(self, place: str) -> None:
        """Have the manifest say where it runs."""
        self.apps.add("shop", place=place)
        for each in self.worlds:
            each.follow()

    def are(self, first: bool, second: bool) -> Callable[[], bool]:
        """Whether the app is in each of them."""
        return lambda: [api.names() for api in self.apis] == [_THERE * first, _THERE * second]


@asynccontextmanager
async def both(directory: Path, overlap_s: float = 0.0, fields: Mapping[str, Any] = {}) -> AsyncIterator[Both]:
    """Keep an app that is in the first of two clusters."""
    with kube_api() as one, kube_api() as other:
        apps = PlacedApps(fields)
        async with (
            converging(directory, one, apps, FIRST) as here,
            converging(directory, other, apps, SECOND, overlap_s) as there,
        ):
            found = Both(apps, (one, other), (here, there))
            found.place(FIRST)
            await soon(lambda: bool(one.names()) and not here.unsettled())
            yield found


@on_loop
async def test_an_app_serves_in_the_first_cluster_until_it_serves_in_the_second(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.apis[1].rolls_out = not_ready
        found.place(SECOND)
        await soon(found.are(True, True))
        await soon(lambda: found.worlds[0].world.observe("shop").wanted_at == SECOND)
        assert "it serves in prod until it serves in staging" in found.worlds[0].world.plan("shop", None).message
        assert found.are(True, True)()
        found.apis[1].rolls_out = rolled_out
        made = found.apis[1].of("Deployment", "shop")
        found.apis[1].put({**made, "status": rolled_out(made)["status"]}, "kubelet")
        await soon(found.are(False, True))
        # And back.
        found.place(FIRST)
        await soon(found.are(True, False))


@on_loop
async def test_it_serves_in_both_for_the_longer_of_their_overlaps_and_who_asks_is_told(tmp_path: Path) -> None:
    async with both(tmp_path, overlap_s=3.0) as found:
        found.place(SECOND)
        await soon(found.are(True, True))
        await soon(lambda: "it serves in prod and in staging, for 3 s" in found.worlds[1].said())
        assert found.are(True, True)()
        await soon(found.are(False, True))
        await soon(lambda: found.worlds[1].unsettled() == [])


@on_loop
async def test_one_that_goes_back_before_it_is_there_is_gone_there(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.apis[1].rolls_out = not_ready
        found.place(SECOND)
        await soon(found.are(True, True))
        found.place(FIRST)
        await soon(found.are(True, False))


@on_loop
async def test_one_that_is_stopped_waits_for_no_other_cluster(tmp_path: Path) -> None:
    async with both(tmp_path) as found:
        found.apis[1].rolls_out = not_ready
        found.apps.add("shop", place=SECOND)
        found.apps.desired["shop"] = found.apps.desired["shop"].stopped
        for each in found.worlds:
            each.follow()
        await soon(lambda: found.apis[0].names() == [])


@pytest.mark.parametrize("place", ["here", SECOND])
@on_loop
async def test_one_without_a_web_server_keeps_no_client_waiting(tmp_path: Path, place: str) -> None:
    async with both(tmp_path, fields={"web": False, "processes": {"worker": "python w.py"}}) as found:
        assert found.apis[0].names() == ["Deployment/shop-worker"]
        found.place(place)
        await soon(lambda: found.apis[0].names() == [])


@on_loop
async def test_a_schedule_is_started_by_the_cluster_alone_where_its_app_is_to_be(tmp_path: Path) -> None:
    fields = {"schedules": {"sweep": {"command": "true", "at": "5 4 * * *"}}}
    scheduled = ["CronJob/shop-sweep", *_THERE]
    async with both(tmp_path, overlap_s=3600.0, fields=fields) as found:
        found.apis[1].rolls_out = not_ready
        found.place(SECOND)
        await soon(lambda: [api.names() for api in found.apis] == [_THERE, scheduled])
        found.place(FIRST)
        await soon(lambda: found.apis[0].names() == scheduled)
        await soon(lambda: "CronJob/shop-sweep" not in found.apis[1].names())
