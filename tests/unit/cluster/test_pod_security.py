"""What a level of Pod Security refuses of a pod, and that it refuses nothing of ours."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from reconciler.cluster.objects import pod_specs
from reconciler.cluster.pod_security import BASELINE, RESTRICTED, refusals, refused_by
from reconciler.cluster.target import Target
from tests.support.exported import SERVICES, TARGET, app_of
from tests.unit.cluster.test_validation import EVERYTHING, TARGETS, fields

BY_NAME = {each.name: each for each in SERVICES}


def pods(document: dict[str, Any], target: Target = TARGET) -> list[dict[str, Any]]:
    return list(pod_specs(app_of(document), target, BY_NAME))


def test_the_strictest_level_admits_the_pods_of_each_part_of_an_app() -> None:
    found = pods(EVERYTHING)
    assert len(found) == 6  # release, web, three processes and a schedule
    assert [refused_by(RESTRICTED, each) for each in found] == [[]] * 6


@given(fields(), TARGETS)
def test_the_strictest_level_admits_the_pods_of_any_manifest(document: dict[str, Any], target: Target) -> None:
    try:
        app_of(document)
    except AssertionError:
        return  # no valid manifest
    assert [told for each in pods(document, target) if (told := refused_by(RESTRICTED, each))] == []


def container(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["containers"][0]
    return found


C = "containers[0]"
OF_POD, OF_CONTAINER = "securityContext", f"{C}.securityContext"
Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod: pod.update(hostPID=True), "hostPID"),
        (lambda pod: pod.update(hostIPC=True), "hostIPC"),
        (lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "volumes[1].hostPath"),
        (lambda pod: pod[OF_POD].update(sysctls=[{"name": "kernel.msgmax"}]), f"{OF_POD}.sysctls"),
        (lambda pod: pod[OF_POD].update(seccompProfile={"type": "Unconfined"}), f"{OF_POD}.seccompProfile.type"),
        (lambda pod: pod[OF_POD].update(seLinuxOptions={"type": "spc_t"}), f"{OF_POD}.seLinuxOptions.type"),
        (lambda pod: container(pod)[OF_POD].update(privileged=True), f"{OF_CONTAINER}.privileged"),
        (lambda pod: container(pod)[OF_POD].update(procMount="Unmasked"), f"{OF_CONTAINER}.procMount"),
        (
            lambda pod: container(pod)[OF_POD].update(appArmorProfile={"type": "Unconfined"}),
            f"{OF_CONTAINER}.appArmorProfile.type",
        ),
        (
            lambda pod: container(pod)[OF_POD].update(windowsOptions={"hostProcess": True}),
            f"{OF_CONTAINER}.windowsOptions.hostProcess",
        ),
        (
            lambda pod: container(pod)[OF_POD]["capabilities"].update(add=["SYS_ADMIN"]),
            f"{OF_CONTAINER}.capabilities.add",
        ),
        (lambda pod: container(pod)["ports"][0].update(hostPort=80), f"{C}.ports[0].hostPort"),
        (
            lambda pod: container(pod).update(livenessProbe={"httpGet": {"host": "169.254.169.254"}}),
            f"{C}.livenessProbe.httpGet.host",
        ),
    ],
)
def test_what_baseline_refuses_is_told_by_its_field_and_so_does_restricted(change: Change, told: str) -> None:
    pod = json.loads(json.dumps(pods({})[0]))
    change(pod)
    assert told in refused_by(BASELINE, pod)
    assert told in refused_by(RESTRICTED, pod)
    assert told in refused_by("of a later version", pod)
    assert refused_by("privileged", pod) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pod: pod[OF_POD].pop("runAsNonRoot"), f"{OF_CONTAINER}.runAsNonRoot"),
        (lambda pod: pod[OF_POD].update(runAsUser=0), f"{OF_POD}.runAsUser"),
        (lambda pod: pod[OF_POD].pop("seccompProfile"), f"{OF_CONTAINER}.seccompProfile.type"),
        (lambda pod: pod["volumes"].append({"name": "x", "nfs": {}}), "volumes[1].nfs"),
        (
            lambda pod: container(pod)[OF_POD].pop("allowPrivilegeEscalation"),
            f"{OF_CONTAINER}.allowPrivilegeEscalation",
        ),
        (lambda pod: container(pod)[OF_POD].pop("capabilities"), f"{OF_CONTAINER}.capabilities.drop"),
        (lambda pod: container(pod)[OF_POD]["capabilities"].update(add=["CHOWN"]), f"{OF_CONTAINER}.capabilities.add"),
        (lambda pod: pod.update(initContainers=[{}]), "initContainers[0].securityContext.capabilities.drop"),
    ],
)
def test_what_restricted_alone_refuses_is_told_by_its_field(change: Change, told: str) -> None:
    pod = json.loads(json.dumps(pods({})[0]))
    change(pod)
    assert refused_by(BASELINE, pod) == []
    assert told in refused_by(RESTRICTED, pod)
    assert list(refusals(RESTRICTED, [("shop", pod), ("blog", pods({})[0])])) == [
        f"Pod Security restricted refuses pods of shop: {', '.join(refused_by(RESTRICTED, pod))}"
    ]
