"""An API server that is away in the middle of a rollout: told, nothing is torn down, and the rollout goes on."""

from pathlib import Path

import pytest

from tests.support.cluster_worlds import PlacedApps, converging
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.kube_api import kube_api, rolled_out
from tests.support.owned_fields import Object

pytestmark = pytest.mark.contract

TRIES = 60  # of all that watch, less and less often: an outage of minutes in a cluster


def under_way(made: Object) -> Object:
    """Return an object with the status of one whose new pods are not ready yet, while one of the old ones serves."""
    if made["kind"] == "Deployment":
        status = {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}
        made["status"] = {**status, "observedGeneration": made["metadata"]["generation"]}
    return made


@on_loop
async def test_an_outage_in_a_rollout_is_told_tears_nothing_down_and_the_rollout_goes_on(tmp_path: Path) -> None:
    with kube_api() as api:
        apps = PlacedApps({})
        apps.add("shop", "blog", "old")
        async with converging(tmp_path, api, apps) as found:
            await soon(lambda: not found.unsettled())
            api.rolls_out = under_way
            apps.add("shop", content="2")
            found.follow()
            await soon(lambda: "its pods" in found.said())
            before, asked, written = api.names(), len(api.asked), len(api.writes())
            api.fault = lambda *_: "before"
            api.forget_events()  # every watch that is open ends
            apps.add("blog", content="2")
            apps.add("late")
            del apps.desired["old"]
            found.follow()
            await soon(lambda: len(api.asked) > asked + TRIES)
            assert api.names() == before
            await soon(lambda: "prod: cannot apply Deployment blog: the API server cannot be asked" in found.said())
            await soon(lambda: "prod: the API server cannot be asked" in found.said())  # of the one that is to go
            await soon(lambda: found.unsettled() == ["shop", "blog", "late"])
            assert len(api.writes()) - written < TRIES  # each is tried less and less often
            # What the cluster itself goes on with while it answers nobody.
            api.rolls_out = rolled_out
            api.put(rolled_out(dict(api.of("Deployment", "shop"))), "controller")
            told = len(found.told)
            api.fault = lambda *_: None
            await soon(lambda: not found.unsettled() and "Deployment/old" not in api.names())
            assert api.names("Deployment") == ["blog", "late", "shop"]
            deleted = {path.rpartition("/")[2] for method, path in api.asked if method == "DELETE"}
            assert deleted == {"old"}
            assert not [text for text in found.told[told:] if "applied Deployment shop " in text]
