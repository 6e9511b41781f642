"""Clusters of other versions than today's: each kind is asked for in the version that there is, and found the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.cluster.versions import EARLIER_VERSIONS, PLURALS, candidates, in_version
from tests.support.cluster_worlds import Converging, PlacedApps, converging
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.exported import GATEWAY
from tests.support.kube_api import kube_api

pytestmark = pytest.mark.contract

FIELDS = {
    "domains": ["shop.example.com"],
    "instances": {"min": 2, "max": 4},
    "limits": {"cpu": 1},
    "schedules": {"cleanup": {"command": "true", "at": "5 4 * * *", "zone": "UTC"}},
}
OLD = {kind: EARLIER_VERSIONS[kind][0] for kind in EARLIER_VERSIONS}
KINDS = {"CronJob", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"}


def is_settled(found: Converging) -> bool:
    return not found.unsettled()


@pytest.mark.parametrize(
    "old",
    [
        pytest.param({}, marks=pytest.mark.nightly, id="today"),
        pytest.param(OLD, id="1.20"),
        pytest.param({"CronJob": OLD["CronJob"]}, marks=pytest.mark.nightly, id="a mixture"),
    ],
)
@on_loop
async def test_each_kind_is_applied_in_the_version_that_the_cluster_has(old: Mapping[str, str], tmp_path: Path) -> None:
    with kube_api() as api:
        api.versions |= old
        apps = PlacedApps(FIELDS, GATEWAY)
        apps.add("shop")
        async with converging(tmp_path, api, apps) as found:
            await soon(lambda: is_settled(found))
            assert {name.partition("/")[0] for name in api.names()} == KINDS
            for kind, version in old.items():
                (made,) = [each for (each_kind, _, _), each in api.objects.items() if each_kind == kind]
                assert made["apiVersion"] == version
            writes = len(api.writes())
            assert writes == len(KINDS)
            # Nothing of it is taken for a difference, at a new list either.
            api.forget_events()
            await soon(lambda: api.asked.count(("GET", "/apis/apps/v1/namespaces/web/deployments")) == 2)
            found.look("shop")
            await soon(lambda: is_settled(found))
            assert len(api.writes()) == writes


@pytest.mark.nightly
@on_loop
async def test_a_cluster_that_is_upgraded_has_its_objects_in_another_version(tmp_path: Path) -> None:
    with kube_api() as api:
        api.versions |= OLD
        apps = PlacedApps(FIELDS, GATEWAY)
        apps.add("shop")
        async with converging(tmp_path, api, apps) as found:
            await soon(lambda: is_settled(found))
            with api.changed:
                for kind in OLD:
                    api.versions[kind] = candidates(kind)[0]
            api.forget_events()
            apps.add("other")
            found.follow()
            await soon(lambda: is_settled(found))
            assert all(api.of("CronJob", f"{name}-cleanup") for name in ("shop", "other"))
            assert api.of("CronJob", "other-cleanup")["apiVersion"] == "batch/v1"


@on_loop
async def test_a_kind_that_no_version_has_is_told_where_an_app_needs_it(tmp_path: Path) -> None:
    with kube_api() as api:
        del api.versions["HTTPRoute"]
        apps = PlacedApps(FIELDS, GATEWAY)
        apps.add("shop")
        async with converging(tmp_path, api, apps) as found:
            await soon(lambda: "no HTTPRoute" in str(apps.places.verdicts.of("shop")))
            assert found.unsettled() == ["shop"]
            assert "Deployment/shop" in api.names()


def test_an_older_cluster_has_schedules_in_utc_alone() -> None:
    made = {"kind": "CronJob", "spec": {"timeZone": "Etc/UTC", "schedule": "5 4 * * *"}}
    assert in_version(made, "batch/v1beta1") == (
        {"kind": "CronJob", "apiVersion": "batch/v1beta1", "spec": {"schedule": "5 4 * * *"}}, "",
    )  # fmt: skip
    assert in_version(made, "batch/v1")[0]["spec"] == made["spec"]
    elsewhere = {"kind": "CronJob", "spec": {"timeZone": "Europe/Berlin", "schedule": "5 4 * * *"}}
    assert "'zone: UTC'" in in_version(elsewhere, "batch/v1beta1")[1]


def test_versions_are_known_of_kinds_that_there_are() -> None:
    assert set(EARLIER_VERSIONS) <= set(PLURALS)
