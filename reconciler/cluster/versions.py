"""The kinds of objects, and the version of the API that has each: all in every Kubernetes from 1.25 on."""

from collections.abc import Mapping

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
