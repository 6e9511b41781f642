"""`doctor` of a cluster: whether it answers, its version, rights, bounds, route, registry and base images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.quotas import full, outside, unbounded
from reconciler.inspection.checks.clusters import clusters
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.app import App
from reconciler.settings.clusters import Cluster
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from tests.contract.test_cluster_rights import role
from tests.support.exported import app_of
from tests.support.kube_api import KubeApi, kube_api, kubeconfig
from tests.support.registries import ScriptedRegistry, scripted_registry

pytestmark = pytest.mark.contract

NAMESPACE = "/api/v1/namespaces/web"
NONE: dict[str, Any] = {"items": []}
PLACED = {"place": "prod", "domains": ["shop.example.com"]}


@dataclass
class Examined:
    """A cluster and its registry, and what `doctor` says of it."""

    api: KubeApi
    registry: ScriptedRegistry
    cluster: Cluster
    state: Path

    def said(self, *apps: App, **changed: Any) -> list[str]:
        cluster = replace(self.cluster, **changed)
        settings = Settings(manifests=self.state, paths=StatePaths(state=self.state), clusters={cluster.name: cluster})
        found = list(clusters(settings, Catalog(apps={app.name: app for app in apps})))
        assert all(check.advice or check.level == "ok" for check in found)
        assert {check.subject for check in found} == {"cluster prod"}
        return [f"{check.level}: {check.found}" for check in found]


@pytest.fixture
def examined(tmp_path: Path) -> Iterator[Examined]:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "index.json").write_text("{}")
    with kube_api() as api, scripted_registry() as registry:
        api.others |= {f"{NAMESPACE}/{each}": NONE for each in ("resourcequotas", "limitranges")}
        api.others[NAMESPACE] = {"metadata": {"name": "web"}}
        cluster = Cluster(
            name="prod",
            kubeconfig=kubeconfig(tmp_path, f"http://127.0.0.1:{api.port}"),
            namespace="web",
            registry=f"127.0.0.1:{registry.port}/web",
            plain_http=True,
            bases={"3.12": str(tmp_path / "base")},
            ingress_class="traefik",
        )
        yield Examined(api, registry, cluster, tmp_path)


def test_a_cluster_that_is_well_is_said_to_be(examined: Examined) -> None:
    examined.api.allowed = role()
    assert examined.said(app_of(PLACED)) == [
        "ok: Kubernetes v1.36.2 answers",
        "ok: the account may do what is needed in namespace web",
        "ok: no ResourceQuota",
        "ok: no LimitRange refuses its pods",
        "ok: namespace web sets no level of Pod Security; any admits its pods",
        "ok: domains are reached by traefik",
        f"ok: its registry 127.0.0.1:{examined.registry.port} answers",
    ]
    assert examined.api.writes() == ["POST v1/selfsubjectrulesreviews"]


def test_a_cluster_that_does_not_answer_is_asked_nothing_more(examined: Examined) -> None:
    examined.api.fault = lambda *_: "before"
    first, *others = examined.said()
    assert first.startswith("fail: the API server cannot be asked")
    assert len(examined.api.asked) == 1
    assert others == [f"ok: its registry 127.0.0.1:{examined.registry.port} answers"]
    examined.api.fault = lambda *_: 401
    assert examined.said()[0] == "fail: scripted 401"


def test_what_is_missing_is_said_each_by_itself(examined: Examined) -> None:
    api = examined.api
    api.release, api.allowed = "v1.20.2", role() - {("delete", "", "secrets"), ("list", "", "limitranges")}
    del api.versions["HTTPRoute"]
    examined.registry.fault = lambda *_: (500, {})
    (examined.state / "base" / "index.json").unlink()
    said = examined.said(app_of(PLACED), gateway="infra/public", ingress_class="")
    assert said[0] == "warn: Kubernetes v1.20.2, older than 1.25, the oldest that is supported"
    assert said[1] == "fail: the account may not list limitranges, delete secrets in namespace web"
    assert [each for each in said if 'cannot list resource "limitranges"' in each]
    assert "fail: 'route.gateway' is set, and the cluster has no HTTPRoute" in said
    assert [each for each in said if each.startswith("fail: its registry: ") and "500" in each]
    assert said[-1] == f"fail: the base image of python3.12, {examined.state / 'base'}, is no OCI layout"
    assert examined.said(app_of(PLACED), ingress_class="", bases={})[-1] == "warn: it has no base image, and so no app"
    assert "warn: no route leads to the domains of shop" in examined.said(app_of(PLACED), ingress_class="")


def test_a_quota_that_is_used_up_or_asks_for_what_no_manifest_says_is_told(examined: Examined) -> None:
    quota = {"status": {"hard": {"pods": "2", "requests.memory": "1Gi"}, "used": {"pods": "2", "requests.memory": "0"}}}
    examined.api.others[f"{NAMESPACE}/resourcequotas"] = {"items": [quota]}
    assert "fail: nothing more fits: pods 2 of 2" in examined.said(app_of(PLACED))
    quota["status"]["used"]["pods"] = "1"
    examined.api.others[f"{NAMESPACE}/resourcequotas"] = {"items": [quota]}
    asked = "fail: a ResourceQuota asks each pod for requests.memory, which shop does not say"
    assert asked in examined.said(app_of(PLACED))
    assert asked not in examined.said(app_of({**PLACED, "limits": {"memory": "512M"}}))


@pytest.mark.parametrize("level", ["privileged", "baseline", "restricted"])
def test_the_level_of_pod_security_of_the_namespace_is_told(examined: Examined, level: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/warn": "restricted"}
    examined.api.others[NAMESPACE] = {"metadata": {"name": "web", "labels": labels}}
    assert f"ok: Pod Security {level} of namespace web admits its pods" in examined.said(app_of(PLACED))


def test_a_cluster_from_before_pod_security_is_asked_for_no_level(examined: Examined) -> None:
    examined.api.release = "v1.20.2"
    said = examined.said(app_of(PLACED))
    assert "ok: Kubernetes v1.20.2 has no Pod Security that could refuse its pods" in said
    assert ("GET", NAMESPACE) not in examined.api.asked


@pytest.mark.parametrize(
    ("used", "hard", "reached"),
    [("2", "2", True), ("500m", "1", False), ("1000m", "1", True), ("1024Mi", "1Gi", True), ("1G", "1Gi", False)],
)
def test_quantities_are_compared_as_what_they_are(used: str, hard: str, reached: bool) -> None:
    quota = {"status": {"hard": {"requests.cpu": hard}, "used": {"requests.cpu": used}}}
    assert bool(full([quota])) is reached


@pytest.mark.parametrize(
    ("bounds", "limits", "told"),
    [
        ({"max": {"memory": "256Mi"}}, {"memory": "512M"}, "a LimitRange allows memory of 256Mi at most"),
        ({"min": {"cpu": "1"}}, {"cpu": 0.5}, "a LimitRange asks for cpu of 1 at least"),
        ({"max": {"memory": "1Gi"}, "min": {"cpu": "100m"}}, {"memory": "512M", "cpu": 0.5}, ""),
        ({"max": {"memory": "1Gi"}}, {}, ""),
    ],
)
def test_limits_outside_of_a_range_are_told(bounds: Mapping[str, Any], limits: Any, told: str) -> None:
    ranges = [{"spec": {"limits": [{"type": "Container", **bounds}]}}]
    found = outside(ranges, [app_of({"limits": limits})])
    assert [each.partition(",")[0] for each in found] == ([told] if told else [])


def test_a_default_of_the_namespace_says_what_a_manifest_does_not() -> None:
    quota = {"status": {"hard": {"limits.cpu": "4"}}}
    ranges = [{"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}]
    apps = [app_of({})]
    assert unbounded([quota], [], apps) == {"limits.cpu": ["shop"]}
    assert unbounded([quota], ranges, apps) == {}
