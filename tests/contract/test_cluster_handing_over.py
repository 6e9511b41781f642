"""What an app's pods in a cluster work with, such as credentials, stays until no pod of that revision is left."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_worlds import PlacedApps, converging
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.kube_api import kube_api, rolled_out

pytestmark = pytest.mark.contract


def underway(made: Any) -> Any:
    """As it is while the new pod is not ready."""
    if made["kind"] == "Deployment":
        made["status"] = {"replicas": 1, "updatedReplicas": 0, "observedGeneration": made["metadata"]["generation"]}
    return made


@on_loop
async def test_a_revision_that_is_replaced_is_in_use_until_its_last_pod_is_gone(tmp_path: Path) -> None:
    with kube_api() as api:
        apps = PlacedApps({})
        apps.add("shop")
        async with converging(tmp_path, api, apps) as found:

            def used() -> set[str]:
                return {use.revision for use in found.world.uses("shop")}

            await soon(lambda: not found.unsettled())
            first = apps.desired["shop"].revision("1").id
            assert used() == {first}

            # The next one is applied, and not ready: a daemon that begins anew knows that, too.
            api.rolls_out = underway
            apps.add("shop", content="2")
            second = apps.desired["shop"].revision("2").id
            found.follow()
            await soon(lambda: "PATCH deployments/shop" in api.writes()[2:])
            assert used() == {first, second}
            async with converging(tmp_path, api, apps) as other:
                assert {use.revision for use in other.world.uses("shop")} == {first, second}

            # It is ready, and the last pod of the one before finishes its requests.
            ending = {"name": "shop-1", "labels": {"reconciler.dev/app": "shop", "reconciler.dev/installation": "here"}}
            api.put({"kind": "Pod", "metadata": {**ending, "deletionTimestamp": "2026-01-01T00:00:00Z"}}, "kubelet")
            await soon(lambda: bool(found.world.observe("shop").pods))
            with api.changed:
                api.rolls_out = rolled_out
            made = api.of("Deployment", "shop")
            api.put({**made, "status": rolled_out(made)["status"]}, "kubelet")
            await soon(lambda: not found.unsettled())
            assert used() == {first, second}
            api.remove("Pod", "shop-1")
            await soon(lambda: used() == {second})


@on_loop
async def test_an_app_that_comes_back_goes_on_there_until_it_serves_here_unless_it_is_stopped(tmp_path: Path) -> None:
    with kube_api() as api:
        apps = PlacedApps({})
        apps.add("shop")
        async with converging(tmp_path, api, apps) as found:
            await soon(lambda: not found.unsettled())
            there = api.names()
            apps.desired["shop"] = replace(apps.desired["shop"], place="here")
            found.follow()
            await soon(lambda: found.world.observe("shop").wanted_at == "here")
            assert "it serves in prod until it serves here" in found.world.plan("shop", None).message
            assert api.names() == there
            apps.desired["shop"] = replace(apps.desired["shop"], state="stopped")
            found.follow()
            await soon(lambda: api.names() == [])
