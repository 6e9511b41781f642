"""Apps whose manifests place them in a cluster: applied, told of, taken back, and gone with their manifests."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.kube_api import KubeApi, failed_rollout, kubeconfig, rolled_out
from tests.support.placed import is_told, placed
from tests.support.registries import ScriptedRegistry
from tests.support.site import Site, get, is_gone

pytestmark = pytest.mark.system


def api_config(site: Site, api: KubeApi) -> Path:
    return kubeconfig(site.root, f"http://127.0.0.1:{api.port}")


def test_an_app_runs_in_a_cluster_by_its_place_and_is_gone_with_its_manifest(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    foreign = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "theirs", "labels": {"a": "b"}}}
    api.put(foreign, "helm")
    site.start(*placed(site, api_config(site, api), registry))
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
    eventually(lambda: [text for _, _, text in site.events("shop")].count("applied Deployment shop in prod") == 2, 60)
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
    eventually(lambda: not list((site.state / "clusters" / "prod").iterdir()))


def underway(made: Any) -> Any:
    """As it is while the new pod is not ready, and there is no other."""
    if made["kind"] == "Deployment":
        made["status"] = {"replicas": 1, "updatedReplicas": 0, "observedGeneration": made["metadata"]["generation"]}
    return made


def image_of(made: Any) -> str:
    (container,) = made["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def test_a_rollout_that_fails_is_taken_back_and_tried_again_by_an_operator(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    site.start(*placed(site, api_config(site, api), registry))
    eventually(lambda: is_told(site, "running"), 60)
    eventually(lambda: site.known_good("shop"), 30)
    good, tried = image_of(api.of("Deployment", "shop")), []

    def rolls_out(made: Any) -> Any:
        if made["kind"] != "Deployment" or image_of(made) == good:
            return rolled_out(made)
        tried.append(image_of(made))
        return failed_rollout(made)

    api.rolls_out = rolls_out
    site.source("shop", "2")
    eventually(lambda: len(tried) == 1, 20)
    eventually(lambda: image_of(api.of("Deployment", "shop")) == good, 20)
    eventually(lambda: is_told(site, "degraded"), 20)
    eventually(lambda: "failed: in prod, its pods: 1 of 1 new, 1 ready" in site.told("shop")["message"], 20)

    api.rolls_out = rolled_out
    site.cli("restart", "shop")
    eventually(lambda: image_of(api.of("Deployment", "shop")) == tried[0], 60)
    eventually(lambda: is_told(site, "running"), 60)


@pytest.mark.nightly
def test_an_app_that_an_operator_stops_has_no_pods_until_it_is_started(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    site.start(*placed(site, api_config(site, api), registry))
    eventually(lambda: is_told(site, "running"), 60)
    site.cli("stop", "shop")
    eventually(lambda: api.of("Deployment", "shop")["spec"]["replicas"] == 0, 20)
    eventually(lambda: is_told(site, "stopped"), 20)
    site.cli("start", "shop")
    eventually(lambda: is_told(site, "running"), 20)
    assert api.of("Deployment", "shop")["spec"]["replicas"] == 1


@pytest.mark.nightly
def test_an_app_that_moves_serves_where_it_was_until_it_serves_where_it_is_to_be(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    options = placed(site, api_config(site, api), registry)
    (site.manifests / "shop.yaml").unlink()
    port = site.app("shop", probation="0s")
    site.start(*options)
    eventually(lambda: is_told(site, "running"), 60)
    here = site.pid("shop")

    # Neither a registry that refuses nor pods that are not ready end what serves here.
    api.rolls_out, registry.fault = underway, lambda *_: (403, {})
    site.manifest("shop", place="prod", port=port, probation="0s")
    eventually(lambda: is_told(site, "degraded"), 30)
    assert get(port) == "1"
    registry.fault = lambda *_: None
    eventually(lambda: "0 of 1 new" in site.told("shop")["message"], 60)
    assert here in [record.pid for record in site.instances("shop")]
    assert get(port) == "1"
    with api.changed:
        api.rolls_out = rolled_out
    api.put({**api.of("Deployment", "shop"), "status": rolled_out(api.of("Deployment", "shop"))["status"]}, "kubelet")
    eventually(lambda: is_told(site, "running"), 30)
    eventually(lambda: is_gone(here), 30)

    # And back: what is there is deleted once it serves here.
    site.manifest("shop", port=port, probation="0s")
    eventually(lambda: api.names() == [], 30)
    assert get(port) == "1"
    eventually(lambda: is_told(site, "running"), 30)
    serves, *removed = [kind for _, kind, text in site.events("shop") if "serves" in text or kind == "removed"][1:]
    assert (serves, set(removed)) == ("ready", {"removed"})


@pytest.mark.nightly
def test_what_others_have_changed_is_told_once_and_left_where_it_is_not_to_be_changed_back(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    site.start(*placed(site, api_config(site, api), registry, force=False))
    eventually(lambda: is_told(site, "running"), 60)
    writes = len(api.writes())
    api.put({"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 5}}, "kubectl-edit")
    eventually(lambda: is_told(site, "degraded"), 20)
    assert "Deployment shop is left as it is: " in site.told("shop")["message"]
    assert 'conflict with "kubectl-edit"' in site.told("shop")["message"]
    assert api.of("Deployment", "shop")["spec"]["replicas"] == 5
    assert api.writes()[writes:] == ["PATCH deployments/shop"]
    assert [kind for _, kind, _ in site.events("shop")].count("refused") == 1
    # Once they let it go, it is as it is to be.
    api.put({"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 1}}, "kubectl-edit")
    eventually(lambda: is_told(site, "running"), 20)
    assert api.writes()[writes:] == ["PATCH deployments/shop"]
