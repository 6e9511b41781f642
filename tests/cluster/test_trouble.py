"""A cluster in trouble: a node that is cut off, pods that are evicted, an API server that is away or has forgotten."""

import json
import shutil
import time
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from tests.cluster.grounds import Place
from tests.support.eventually import eventually
from tests.tools.cluster import Cluster
from tests.tools.kube import MERGE

pytestmark = pytest.mark.network

_RBAC = "apis/rbac.authorization.k8s.io/v1"
_AWAY_S = 120  # more than a node may be silent for, 40 s, and than the engine tolerates that, 15 s


def of_ours(place: Place) -> Cluster:
    """The engine, which these tests break; another cluster is not ours to break."""
    if place.grounds.engine is None:
        pytest.skip("breaks nodes or the control plane, which only our own engine is for")
    return place.grounds.engine


def is_ready(pod: Any) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def test_pods_of_a_node_that_is_cut_off_are_made_elsewhere_and_there_is_no_double_when_it_is_back(
    place: Place,
) -> None:
    engine = of_ours(place)
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    (pod,) = place.pods()
    number = int(pod["spec"]["nodeName"].rpartition("-")[2])
    began = time.monotonic()
    engine.machine.cut(number, off=True)
    try:
        eventually(lambda: place.site.told("shop")["state"] != "running", 120)
        print(f"told after {time.monotonic() - began:.0f} s: {place.site.told('shop')['message']}")

        def is_elsewhere() -> bool:
            return any(is_ready(each) and each["spec"]["nodeName"] != pod["spec"]["nodeName"] for each in place.pods())

        eventually(is_elsewhere, 240)
        print(f"served elsewhere after {time.monotonic() - began:.0f} s")
        place.until("running")
    finally:
        engine.machine.cut(number, off=False)
    eventually(engine.nodes_ready, 120)
    eventually(lambda: len(place.kube.ask("GET", place.path("pods"))["items"]) == 1, 120)
    place.answers("1")
    place.until("running")


def evict(place: Place, name: str) -> bool:
    """Ask for the eviction of a pod, as `kubectl drain` does; whether it was granted."""
    body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name}}
    try:
        place.kube.ask("POST", f"{place.path('pods', name)}/eviction", body)
    except HTTPError as error:
        if error.code == 429:
            return False
        raise
    return True


def drain(place: Place, node: str) -> int:
    """Let a node take no more pods, and evict those of the app; return how often that was refused."""
    refused = 0
    place.kube.ask("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}}, MERGE)
    try:
        for pod in [each for each in place.pods() if each["spec"]["nodeName"] == node]:
            while not evict(place, pod["metadata"]["name"]):
                refused += 1
                time.sleep(0.2)
        eventually(lambda: all(each["spec"]["nodeName"] != node and is_ready(each) for each in place.pods()), 240)
    finally:
        whole = {"spec": {"unschedulable": None}}
        place.kube.ask("PATCH", f"/api/v1/nodes/{node}", whole, MERGE)
    return refused


def test_no_request_fails_while_each_node_in_turn_is_drained(place: Place) -> None:
    of_ours(place)
    place.app("shop", instances=2)
    place.site.start(*place.options())
    place.until("running")
    with place.under_load() as load:
        for number in range(2):
            refused = drain(place, f"node-{number}")
            print(f"node-{number}: the eviction was refused {refused} times")
            place.until("running")
        load.await_more(100)
    assert not load.failed


def test_requests_fail_while_the_only_pod_is_evicted(place: Place) -> None:
    """What is shown above is shown by a second pod and by the budget, which one alone does not have."""
    of_ours(place)
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    with place.under_load() as load:
        (pod,) = place.pods()
        assert evict(place, pod["metadata"]["name"])
        eventually(lambda: load.failed, 120)
        place.answers("1")
    assert load.failed


def nodes_silent(engine: Cluster) -> list[str]:
    """What controllers have said of nodes that they had not heard of."""
    found = engine.ask("GET", "/api/v1/namespaces/default/events")["items"]
    told = [each for each in found if each["reason"] == "NodeNotReady"]
    return [f"{each['lastTimestamp']} {each['involvedObject']['name']} ({each['count']})" for each in told]


def test_no_request_fails_in_a_rollout_that_goes_on_when_the_api_server_is_back(place: Place) -> None:
    """What controls the cluster begins anew then, as where it elects a leader, who ends without an API server."""
    engine = of_ours(place)
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    before, silent = place.deployment()["metadata"]["generation"], nodes_silent(engine)
    with place.under_load() as load:
        place.site.source("shop", "2")
        eventually(lambda: place.deployment()["metadata"]["generation"] > before, 120)
        engine.kill_api_server()
        engine.kill_controllers()
        ends = load.ok
        try:
            time.sleep(_AWAY_S)
            assert place.site.told("shop")["state"] != "failing"
            print(place.site.told("shop")["message"])
        finally:
            engine.start_api_server()
            eventually(lambda: engine.ask("GET", "/readyz") == "ok", 120)
            engine.start_controllers()
        assert load.ok > ends
        place.answers("2")
        place.until("running")
    assert nodes_silent(engine) == silent
    assert not load.failed


def test_requests_fail_after_an_outage_through_which_controllers_have_lived(place: Place) -> None:
    """They have heard of no node meanwhile, and say of all pods that they are not ready, unless kubelets are first."""
    engine = of_ours(place)
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    with place.under_load() as load:
        engine.kill_api_server()
        try:
            time.sleep(_AWAY_S)
            assert not load.failed
            for node in engine.machine.nodes:
                node.kill("kubelet")
        finally:
            engine.start_api_server()
        eventually(lambda: load.failed, 120)
        print(*nodes_silent(engine), sep="\n")
        engine.start_kubelets()
        place.answers("1")
        eventually(engine.nodes_ready, 120)
        place.until("running")


def granted(place: Place) -> Any:
    """Give the user `daemon` the rights that we say are needed, and none besides; return the Role."""
    manifests = ["--manifests", str(place.site.manifests)]
    written = place.site.cli("export", "--rbac", "--namespace", place.namespace, *manifests).stdout
    (role,) = [each for each in yaml.safe_load_all(written) if each["kind"] == "Role"]
    place.kube.ask("POST", place.path("roles", group=_RBAC), role)
    binding = {
        "metadata": {"name": "daemon"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "daemon"}],
    }
    place.kube.ask("POST", place.path("rolebindings", group=_RBAC), binding)
    return role


def test_a_right_that_is_withdrawn_is_told_and_nothing_is_deleted(place: Place) -> None:
    engine = of_ours(place)
    config = engine.config_of_user(place.site.root)
    role = granted(place)
    place.app("shop")
    place.site.start(*place.options(config))
    place.until("running")
    where = place.path("roles", role["metadata"]["name"], _RBAC)
    for verb in ("patch", "list", "watch"):
        less = [{**rule, "verbs": [each for each in rule["verbs"] if each != verb]} for rule in role["rules"]]
        place.kube.ask("PATCH", where, {"rules": less}, MERGE)
        place.site.source("shop", verb)
        if verb == "patch":
            eventually(lambda verb=verb: f"cannot {verb}" in json.dumps(place.site.told("shop")), 120)  # type: ignore[misc]
        print(f"without {verb}: {place.site.told('shop')['message']}")
        assert len(place.pods()) >= 1
        place.kube.ask("PATCH", where, {"rules": role["rules"]}, MERGE)
        place.answers(verb)
        place.until("running")


def test_a_cluster_that_has_forgotten_is_made_as_it_is_to_be_again(place: Place) -> None:
    """Its store is put back to what it was: versions of objects go backwards."""
    engine = of_ours(place)
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    kept = engine.directory / "etcd.before"
    engine.kill_store()
    shutil.copytree(engine.directory / "etcd", kept)
    engine.start_store()
    place.app("blog")
    place.site.source("shop", "2")
    place.answers("2")
    place.until("running", "blog")

    made = {name: place.deployment(name)["spec"]["template"] for name in ("shop", "blog")}
    engine.kill_store()
    shutil.rmtree(engine.directory / "etcd")
    kept.rename(engine.directory / "etcd")
    engine.start_store()
    for name, template in made.items():
        eventually(lambda name=name, template=template: place.deployment(name)["spec"]["template"] == template, 240)  # type: ignore[misc]
    eventually(lambda: {"blog", "shop"} <= set(place.kube.names(place.path("services"))), 60)
