"""Which fields of a pod a level of Pod Security refuses. Pure.

Source: the Pod Security Standards of Kubernetes, as the API server's own admission has them from 1.23 on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

FIRST = (1, 23)  # the version of Kubernetes from which the labels of a namespace are heeded
LABEL = "pod-security.kubernetes.io/enforce"
BASELINE, RESTRICTED = "baseline", "restricted"
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_HOOKS = ("livenessProbe", "readinessProbe", "startupProbe")
_VOLUMES = frozenset((
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
))  # fmt: skip
_CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
))  # fmt: skip
_SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_PROFILES = frozenset(("RuntimeDefault", "Localhost"))

Pod = Mapping[str, Any]


def refused_by(level: str, pod: Pod) -> list[str]:
    """Return the fields of a pod's spec that a level refuses, each once.

    A field that has to be given and is not is among them. A level that is not known counts as the strictest.
    """
    if level == "privileged":
        return []
    found = list(_below_baseline(pod))
    if level != BASELINE:
        found += _below_restricted(pod)
    return list(dict.fromkeys(found))


def refusals(level: str, pods: Iterable[tuple[str, Pod]]) -> Iterator[str]:
    """Yield a sentence for each pod, by its app, that a level refuses."""
    for app, pod in pods:
        if fields := refused_by(level, pod):
            yield f"Pod Security {level} refuses pods of {app}: {', '.join(fields)}"


def _below_baseline(pod: Pod) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for index, volume in enumerate(pod.get("volumes") or ()):
        if "hostPath" in volume:
            yield f"volumes[{index}].hostPath"
    for place, context in _contexts(pod):
        yield from _weak(place, context)
    for sysctl in _part(pod, "securityContext").get("sysctls") or ():
        if sysctl.get("name") not in _SYSCTLS:
            yield "securityContext.sysctls"
    for place, container in _each_container(pod):
        yield from _of_container(place, container)
        yield from _hosts_of(place, container)


def _of_container(place: str, container: Pod) -> Iterator[str]:
    context = _part(container, "securityContext")
    if context.get("privileged"):
        yield f"{place}.securityContext.privileged"
    if set(_part(context, "capabilities").get("add") or ()) - _CAPABILITIES:
        yield f"{place}.securityContext.capabilities.add"
    if context.get("procMount", "Default") != "Default":
        yield f"{place}.securityContext.procMount"
    for index, port in enumerate(container.get("ports") or ()):
        if port.get("hostPort"):
            yield f"{place}.ports[{index}].hostPort"


def _hosts_of(place: str, container: Pod) -> Iterator[str]:
    """Yield the hosts that probes and hooks name."""
    hooks = _part(container, "lifecycle")
    given = {name: container.get(name) for name in _HOOKS}
    given |= {f"lifecycle.{name}": hooks.get(name) for name in ("postStart", "preStop")}
    for name, each in given.items():
        for how in ("httpGet", "tcpSocket"):
            if _part(each or {}, how).get("host"):
                yield f"{place}.{name}.{how}.host"


def _weak(place: str, context: Pod) -> Iterator[str]:
    """Yield what a security context of a pod or of a container takes away from what keeps it apart."""
    if _part(context, "windowsOptions").get("hostProcess"):
        yield f"{place}.windowsOptions.hostProcess"
    if _part(context, "seccompProfile").get("type") == "Unconfined":
        yield f"{place}.seccompProfile.type"
    if _part(context, "appArmorProfile").get("type") == "Unconfined":
        yield f"{place}.appArmorProfile.type"
    linux = _part(context, "seLinuxOptions")
    yield from (f"{place}.seLinuxOptions.{name}" for name in ("user", "role") if linux.get(name))
    if linux.get("type", "") not in _SELINUX:
        yield f"{place}.seLinuxOptions.type"


def _below_restricted(pod: Pod) -> Iterator[str]:
    for index, volume in enumerate(pod.get("volumes") or ()):
        yield from (f"volumes[{index}].{kind}" for kind in volume if kind != "name" and kind not in _VOLUMES)
    of_pod = _part(pod, "securityContext")
    for place, context in _contexts(pod):
        if context.get("runAsUser") == 0:
            yield f"{place}.runAsUser"
    for place, container in _each_container(pod):
        context = _part(container, "securityContext")
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{place}.securityContext.allowPrivilegeEscalation"
        if context.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
            yield f"{place}.securityContext.runAsNonRoot"
        if _part({**of_pod, **context}, "seccompProfile").get("type") not in _PROFILES:
            yield f"{place}.securityContext.seccompProfile.type"
        capabilities = _part(context, "capabilities")
        if "ALL" not in (capabilities.get("drop") or ()):
            yield f"{place}.securityContext.capabilities.drop"
        if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
            yield f"{place}.securityContext.capabilities.add"


def _contexts(pod: Pod) -> Iterator[tuple[str, Pod]]:
    yield "securityContext", _part(pod, "securityContext")
    for place, container in _each_container(pod):
        yield f"{place}.securityContext", _part(container, "securityContext")


def _each_container(pod: Pod) -> Iterator[tuple[str, Pod]]:
    for name in _CONTAINERS:
        containers: Sequence[Pod] = pod.get(name) or ()
        yield from ((f"{name}[{index}]", each) for index, each in enumerate(containers))


def _part(whole: Pod, name: str) -> Pod:
    found: Pod = whole.get(name) or {}
    return found
