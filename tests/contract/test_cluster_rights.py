"""The rights that are asked for are those that are used: every verb that the client needs is granted, and none besides.

An API server's double notes what each request of a World, of `doctor`, `logs` and `top` would need.
"""

from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.access import access, granted, rights
from reconciler.cluster.api.client import ApiError, Client
from reconciler.cluster.api.questions import items_of, log_of, missing_rights, namespace_labels, pods_of, use_of
from tests.support.cluster_worlds import Converging, PlacedApps, converging
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.exported import GATEWAY, INGRESS
from tests.support.kube_api import KubeApi, kube_api
from tests.support.kube_rights import Right

pytestmark = pytest.mark.contract

NAMESPACE = "/api/v1/namespaces/web"
METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/web/pods"
FIELDS: dict[str, Any] = {
    "domains": ["shop.example.com"],
    "release": "true",
    "instances": {"min": 2, "max": 4},
    "limits": {"cpu": 1},
    "isolation": "strict",
    "network": {"connect": "none"},
    "schedules": {"cleanup": {"command": "true", "at": "5 4 * * *"}},
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "placed-app-env"}, "data": {}}


def role() -> set[Right]:
    """The rights that the Role gives, as it is written."""
    _, found, _ = access("web")
    rules: Any = found["rules"]
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def settled(found: Converging) -> bool:
    return not found.unsettled()


async def everything(api: KubeApi, directory: Path) -> None:
    """Have each kind of object made, changed, found by another's hand and deleted, and all questions asked."""
    api.others |= {
        NAMESPACE: {"metadata": {"name": "web", "labels": {"a": "b"}}},
        f"{NAMESPACE}/resourcequotas": {"items": []},
        f"{NAMESPACE}/limitranges": {"items": []},
        f"{NAMESPACE}/pods/shop-1/log": "hello\n",
        METRICS: {"items": []},
    }
    apps = PlacedApps(FIELDS, GATEWAY, INGRESS, also=(SECRET,))
    apps.add("shop")
    async with converging(directory, api, apps) as found:
        await soon(lambda: settled(found))
        apps.add("shop", content="2")
        found.follow()
        await soon(lambda: settled(found))
        apps.desired.clear()
        found.follow()
        await soon(lambda: api.names() == [])
        await questions(found.client)


async def questions(client: Client) -> None:
    for plural in ("resourcequotas", "limitranges"):
        await items_of(client, plural)
    assert await namespace_labels(client) == {"a": "b"}
    await pods_of(client, "a=b")
    await use_of(client, "a=b")
    assert [line async for line in log_of(client, "shop-1", {"tailLines": "10"})] == ["hello"]


@on_loop
async def test_the_role_has_every_verb_that_is_used_and_none_that_is_not(tmp_path: Path) -> None:
    with kube_api() as api:
        await everything(api, tmp_path)
        used = api.rights
    assert used - role() == set()
    assert role() - used == set()


@pytest.mark.nightly
@on_loop
async def test_with_that_role_and_nothing_else_all_of_it_works(tmp_path: Path) -> None:
    with kube_api() as api:
        api.allowed = role()
        await everything(api, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("verb", ["create", "delete", "get", "list", "patch", "watch"])
@on_loop
async def test_a_right_that_is_taken_away_is_told_by_its_name_and_nothing_is_torn_down(
    verb: str, tmp_path: Path
) -> None:
    with kube_api() as api:
        apps = PlacedApps({})
        apps.add("shop")
        async with converging(tmp_path, api, apps) as found:
            await soon(lambda: settled(found))
            before = api.names()
            api.allowed = role() - {(verb, "apps", "deployments")}
            api.forget_events()
            apps.add("shop", "other", content="2")
            if verb == "delete":
                apps.desired.pop("shop")
            found.follow()
            words = f'cannot {verb} resource "deployments" in API group "apps" in the namespace "web"'
            await soon(lambda: words in found.said())
            assert set(before) <= {*api.names(), "Service/shop"}
            api.allowed = role()
            await soon(lambda: settled(found) and api.names("Deployment") == sorted(apps.desired))


@pytest.mark.parametrize("incomplete", [False, True])
@on_loop
async def test_rights_that_are_missing_are_found_by_a_question(incomplete: bool, tmp_path: Path) -> None:
    with kube_api() as api:
        apps = PlacedApps({})
        async with converging(tmp_path, api, apps) as found:
            api.incomplete = incomplete
            assert await missing_rights(found.client, sorted(rights())) == []
            api.allowed = role() - {("delete", "batch", "jobs"), ("get", "", "pods/log")}
            missing = await missing_rights(found.client, sorted(rights()))
            assert [str(right) for right in missing] == ["get pods/log", "delete jobs.batch"]
            api.allowed = set()
            with pytest.raises(ApiError, match="cannot list"):
                await items_of(found.client, "resourcequotas")


def test_rules_are_read_as_a_cluster_says_them() -> None:
    (right, *_) = sorted(rights())
    rule = {"verbs": [right.verb], "apiGroups": [right.group], "resources": [right.resource]}
    assert granted([rule], right)
    assert granted([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}], right)
    assert not granted([{**rule, "resourceNames": ["one"]}], right)
    assert not granted([{**rule, "verbs": ["other"]}, {**rule, "apiGroups": ["other"]}], right)
