"""The kinds of objects, and the version of the API that has each: all in every Kubernetes from 1.25 on.

An export has these. A cluster that is asked says which it has: older ones have some kinds in an earlier version alone.
"""

from collections.abc import Mapping
from typing import Any

OLDEST = "1.25"

API_VERSIONS: Mapping[str, str] = {
    "CronJob": "batch/v1",
    "Deployment": "apps/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "Secret": "v1",
    "Service": "v1",
}

# Where objects of each kind are; pods are only read.
READ_VERSIONS: Mapping[str, str] = {**API_VERSIONS, "Pod": "v1"}
# Earlier versions of kinds, each with the same fields as far as we set them, the better one first. CronJobs of batch/v1
# came with 1.21, its PodDisruptionBudgets with 1.21, autoscaling/v2 with 1.23; Gateways are installed beside a cluster.
EARLIER_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "CronJob": ("batch/v1beta1",),
    "HTTPRoute": ("gateway.networking.k8s.io/v1beta1",),
    "HorizontalPodAutoscaler": ("autoscaling/v2beta2",),
    "PodDisruptionBudget": ("policy/v1beta1",),
}
PLURALS: Mapping[str, str] = {
    "CronJob": "cronjobs",
    "Deployment": "deployments",
    "HTTPRoute": "httproutes",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Ingress": "ingresses",
    "Job": "jobs",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Secret": "secrets",
    "Service": "services",
}

# The resources of the kinds that an export has, by the group of their API, for a role that may apply them.
RESOURCES: Mapping[str, tuple[str, ...]] = {
    "": ("secrets", "services"),
    "apps": ("deployments",),
    "autoscaling": ("horizontalpodautoscalers",),
    "batch": ("cronjobs", "jobs"),
    "gateway.networking.k8s.io": ("httproutes",),
    "networking.k8s.io": ("ingresses", "networkpolicies"),
    "policy": ("poddisruptionbudgets",),
}
# What is read to see whether a rollout is done, and why not.
READ: Mapping[str, tuple[str, ...]] = {"": ("events", "pods", "pods/log"), "apps": ("replicasets",)}


def candidates(kind: str) -> tuple[str, ...]:
    """Return the versions in which a cluster may have a kind, the one that is preferred first."""
    return (READ_VERSIONS[kind], *EARLIER_VERSIONS.get(kind, ()))


def in_version(wanted: Mapping[str, Any], version: str) -> tuple[Mapping[str, Any], str]:
    """Return an object as a version of its API has it, and why that cannot be, "" if it can."""
    found = {**wanted, "apiVersion": version}
    spec = wanted.get("spec") or {}
    if version == "batch/v1beta1" and "timeZone" in spec:
        if spec["timeZone"] != "Etc/UTC":
            return found, "this cluster knows no time zone of schedules: give their times in UTC, with 'zone: UTC'"
        found["spec"] = {name: value for name, value in spec.items() if name != "timeZone"}
    return found, ""
