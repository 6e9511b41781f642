"""Only what is ours is touched, and only what differs is applied."""

import json
from typing import Any

from reconciler.cluster.ownership import (
    as_kept,
    changed_by,
    conflict_of,
    differences,
    is_ours,
    kept_replicas,
    marked,
    may_be_taken,
)

OURS = {"reconciler.dev/installation": "here"}


def deployment(**metadata: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "shop", **metadata}, "spec": {"replicas": 1}}


def test_an_object_is_ours_by_its_label_or_by_whose_fields_it_has() -> None:
    assert is_ours(deployment(labels=OURS), "here")
    assert is_ours(deployment(managedFields=[{"manager": "reconciler/here"}]), "here")
    assert not is_ours(deployment(labels={"app.kubernetes.io/managed-by": "reconciler"}), "here")
    assert not is_ours(deployment(labels={"reconciler.dev/installation": "there"}), "here")


def test_what_another_made_is_refused_with_who_that_was_unless_it_is_given_to_us() -> None:
    helm = deployment(managedFields=[{"manager": "helm"}])
    assert may_be_taken(helm, "shop", "here") == (
        "Deployment shop exists, and was made by helm: delete it, rename the app, or annotate it"
        " reconciler.dev/adopt=shop"
    )
    there = deployment(labels={"reconciler.dev/installation": "there"})
    assert "another installation of reconciler, there" in may_be_taken(there, "shop", "here")
    assert may_be_taken(deployment(annotations={"reconciler.dev/adopt": "shop"}), "shop", "here") == ""
    assert may_be_taken(deployment(annotations={"reconciler.dev/adopt": "blog"}), "shop", "here") != ""


def test_an_object_and_the_pods_that_it_makes_are_marked_and_it_itself_is_left_as_it_is() -> None:
    made = {**deployment(), "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}
    found = marked(made, "here", "r1")
    assert found["metadata"]["labels"] == OURS
    assert found["spec"]["template"]["metadata"]["labels"] == {"a": "b", **OURS}
    assert found["metadata"]["annotations"]["reconciler.dev/revision"] == "r1"
    assert "labels" not in made["metadata"]


def test_what_the_cluster_adds_or_writes_in_another_way_is_no_difference() -> None:
    desired = {
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {
            "limits": {"cpu": "0.5", "memory": "1024Mi"},
            "egress": [],
            "env": [{"name": "A", "value": ""}, {"name": "B", "value": "1.50"}],
            "on": False,
        },
    }
    seen = {
        "metadata": {"name": "shop", "uid": "1"},
        "spec": {
            "limits": {"cpu": "500m", "memory": "1Gi"},
            "env": [{"name": "C"}, {"name": "A"}, {"name": "B", "value": "1.50"}],
            "paused": True,
        },
        "status": {},
    }
    desired["spec"]["egress"] = []  # type: ignore[index]
    assert differences(desired, {**seen, "spec": {**seen["spec"], "egress": []}}) == ()  # type: ignore[dict-item]


def test_what_differs_is_named_by_its_path_and_by_who_changed_it_last() -> None:
    desired = {"spec": {"replicas": 1, "env": [{"name": "A", "value": "1"}], "names": ["a"], "gone": {"x": 1}}}
    seen = {"spec": {"replicas": 5, "env": [{"name": "A", "value": "2"}], "names": ["a", "b"]}}
    assert differences(desired, seen) == ("spec.replicas", "spec.env[A].value", "spec.names")
    env: dict[str, Any] = {"f:env": {'k:{"name":"A"}': {".": {}, "f:value": {}}}}
    assert (
        changed_by(
            deployment(
                managedFields=[
                    {"manager": "kubectl-edit", "time": "1", "fieldsV1": {"f:spec": env}},
                    {"manager": "kubectl-scale", "time": "2", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                    {"manager": "kube-controller-manager", "time": "3", "fieldsV1": {"f:status": {}}},
                ]
            ),
            "here",
            "spec.env[A].value",
        )
        == "kubectl-edit"
    )
    fields = [
        {"manager": "reconciler/here", "time": "3"},
        {"manager": "kubectl-edit", "time": "2"},
        {"manager": "helm", "time": "1"},
        {"manager": "kube-controller-manager", "time": "4", "subresource": "status"},
    ]
    assert changed_by(deployment(managedFields=fields), "here", "spec.replicas") == "kubectl-edit"


def test_what_is_kept_of_an_object_says_the_same_of_who_owns_it() -> None:
    replicas: dict[str, Any] = {
        "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {}}},
        "f:metadata": {"f:labels": {"f:a": {}}},
    }
    status: dict[str, Any] = {"f:status": {"f:replicas": {}, "f:conditions": {"f:type": {}}}}
    annotated = {"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}, **status}
    ours, scaled = {"manager": "reconciler/here", "time": "1"}, {"manager": "kubectl-scale", "time": "4"}
    owners: tuple[list[dict[str, Any]], ...] = (
        [{**ours, "fieldsV1": replicas}, {**scaled, "fieldsV1": {"f:spec": {"f:replicas": {}}}}],
        [{**ours, "fieldsV1": {"f:spec": {"f:template": {}}}}, {**ours, "fieldsV1": replicas, "subresource": "scale"}],
        [ours, {"manager": "kubectl-edit", "time": "3"}, {"manager": "kube-controller-manager", "fieldsV1": annotated}],
        [{"manager": "helm", "time": "9", "fieldsV1": status}],
        [{"manager": "helm", "time": "9", "fieldsV1": replicas}, {"manager": "kubelet", "subresource": "status"}],
    )
    desired = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "shop"}, "spec": {}}
    for managed in owners:
        seen = {**deployment(managedFields=managed), "kind": "Deployment", "spec": {"replicas": 3}, "status": {"a": 1}}
        kept = as_kept(seen, "here")
        said = [
            (
                is_ours(each, "here"),
                may_be_taken(each, "shop", "here"),
                kept_replicas(desired, each, "here"),
                conflict_of(desired, each),
                [changed_by(each, "here", path) for path in ("spec.replicas", "metadata.labels.a", "spec.other")],
            )
            for each in (seen, kept)
        ]
        assert said[0] == said[1]
        assert {**kept, "metadata": None} == {**seen, "metadata": None}
        assert len(json.dumps(kept)) < len(json.dumps(seen)) or "fieldsV1" not in managed[0]


def test_pods_are_kept_without_what_they_are_to_run() -> None:
    metadata = {"name": "shop-1", "labels": {"a": "b"}}
    pod = {
        "kind": "Pod",
        "metadata": {**metadata, "managedFields": [{}]},
        "spec": {"containers": []},
        "status": {"a": 1},
    }
    assert as_kept(pod, "here") == {"kind": "Pod", "metadata": metadata, "status": {"a": 1}}
