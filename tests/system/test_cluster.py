"""Apps whose manifests place them in a cluster: applied, told of, taken back, and gone with their manifests."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.images import a_base
from tests.support.kube_api import KubeApi, kube_api, kubeconfig
from tests.support.registries import ScriptedRegistry, scripted_registry
from tests.support.site import Site

pytestmark = pytest.mark.system


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api() as api:
        yield api


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with scripted_registry() as registry:
        yield registry


def placed(site: Site, api: KubeApi, registry: ScriptedRegistry, **fields: Any) -> list[str]:
    """Write the settings with a cluster, and an app that is placed there; return what starts the daemon."""
    minors = [f"3.{minor}" for minor in range(8, 30)]
    a_base(site.root / "base", *minors)
    prod = {
        "kubeconfig": str(kubeconfig(site.root, f"http://127.0.0.1:{api.port}")),
        "namespace": "web",
        "registry": f"127.0.0.1:{registry.port}/web",
        "plain_http": True,
        "bases": {f"python{minor}": str(site.root / "base") for minor in minors},
        **fields,
    }
    settings = site.root / "host.yaml"
    settings.write_text(json.dumps({"clusters": {"prod": prod}, "retry": {"first": "50ms", "cap": "200ms"}}))
    site.source("shop")
    site.manifest("shop", place="prod", probation="0s")
    return ["--settings", str(settings)]


def is_told(site: Site, state: str, name: str = "shop") -> bool:
    told = site.told(name)
    assert told["state"] == state, f"{told['state']}: {told['message']}"
    return True


def test_an_app_runs_in_a_cluster_by_its_place_and_is_gone_with_its_manifest(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    foreign = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "theirs", "labels": {"a": "b"}}}
    api.put(foreign, "helm")
    site.start(*placed(site, api, registry))
    eventually(lambda: is_told(site, "running"), 60)
    assert api.names() == ["Deployment/shop", "Secret/theirs", "Service/shop"]
    deployment = api.of("Deployment", "shop")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith(f"127.0.0.1:{registry.port}/web/shop@sha256:")
    assert not any(record.pid for record in site.instances("shop"))
    assert site.told("shop")["port"] is None

    # An edit of the source is another image; the same objects are not applied once more.
    before = len(api.writes())
    site.source("shop", "2")
    eventually(lambda: api.of("Deployment", "shop")["spec"] != deployment["spec"], 60)
    eventually(lambda: is_told(site, "running"), 60)
    assert api.writes()[before:] == ["PATCH deployments/shop"]

    # What others change is changed back, and told; what they delete is made again.
    wanted = api.of("Deployment", "shop")["spec"]
    api.put({"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 5}}, "kubectl-edit")
    eventually(lambda: api.of("Deployment", "shop")["spec"] == wanted, 20)
    eventually(lambda: "kubectl-edit has changed spec.replicas" in site.cli("events", "shop").stdout)
    api.remove("Service", "shop")
    eventually(lambda: "Service/shop" in api.names(), 20)

    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: api.names() == ["Secret/theirs"], 20)
    eventually(lambda: not site.status()["apps"], 20)
    assert not list((site.state / "clusters" / "prod").iterdir())
