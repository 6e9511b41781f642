"""The pod of one part of an app: its container, what it is given, and how it is kept in bounds and ended."""

import math
from collections.abc import Mapping
from dataclasses import field, replace

from reconciler.cluster.names import dns_name
from reconciler.cluster.ownership import APP, PART
from reconciler.cluster.secrets import Secret, Secrets, is_too_long, shown_and_hidden
from reconciler.cluster.target import Target
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.command_line import Command, without_runner
from reconciler.planning.fingerprint import Json
from reconciler.planning.isolation.limits import NO_LIMITS, Limits

Object = dict[str, Json]

PORT = 8000  # at which the web server of an image listens
USER = 65532  # of an image; some runtimes heed no group that an image names
PYTHON = "/reconciler/environment/bin/python"
EXPAND = "--expand"  # before a command with variables in it
START = (PYTHON, "-I", "/reconciler/run/start.py")
_BINDINGS, _VCAP = "/bindings", "/services"
_VCAP_FILE = "vcap_services.json"
_READABLE = 0o440  # by the group of the pod
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an app that has pods of its own: its web server, a process, a schedule or its release command.

    `id` is the label of its pods; `key` says whose variables it gets besides those of the app. `grace_s` is how long it
    may take to end. `probes` and
    `lifecycle` are as a container has them. What is no web server is not the first process of its pod, as that ends at
    no signal which it does not handle.
    """

    id: str
    key: str = ""
    command: Command | None = None
    shell: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    grace_s: int = 30
    probes: Mapping[str, Json] = field(default_factory=dict)
    lifecycle: Json = None
    ends: bool = False

    @property
    def is_web(self) -> bool:
        """Whether it is the web server."""
        return self.command is None and not self.shell


def whole(seconds: float) -> int:
    """Return a duration in whole seconds, rounded up."""
    return math.ceil(seconds)


def labels(app: App, part: str = "") -> Object:
    """Return the labels of an object of an app, or of one part of it."""
    told: Object = {"app.kubernetes.io/name": app.name, "app.kubernetes.io/managed-by": "reconciler"}
    if part:
        told["app.kubernetes.io/component"] = part
    return {**dict(sorted(told.items())), **selector(app, part)}


def selector(app: App, part: str = "") -> Object:
    """Return the labels by which the pods of an app, or of one part of it, are chosen."""
    of_part: Object = {PART: part} if part else {}
    return {APP: app.name, **of_part}


def template(app: App, part: Part, target: Target, secrets: Secrets) -> Object:
    """Return the template of the pods of a part."""
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": part.grace_s,
    }
    if target.pull_secret:
        spec["imagePullSecrets"] = [{"name": target.pull_secret}]
    if not part.is_web:
        spec["shareProcessNamespace"] = True
    if part.ends:
        spec["restartPolicy"] = "Never"
    elif target.spread != "none":
        spec["topologySpreadConstraints"] = [_spread(app, part, target)]
    spec["containers"] = [_container(app, part, target, secrets)]
    spec["volumes"] = _volumes(app, secrets)
    return {"metadata": {"labels": labels(app, part.id)}, "spec": spec}


def _spread(app: App, part: Part, target: Target) -> Object:
    keys = {"host": "kubernetes.io/hostname", "zone": "topology.kubernetes.io/zone"}
    return {
        "maxSkew": 1,
        "topologyKey": keys[target.spread],
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(app, part.id)},
    }


def _container(app: App, part: Part, target: Target, secrets: Secrets) -> Object:
    made: Object = {"name": dns_name(part.id.rpartition(".")[2]), "image": target.image}
    variables = _variables(app, part, secrets)
    words = ("/bin/sh", "-c", part.shell) if part.shell else () if part.command is None else run(part.command)
    if words:
        made["args"] = [*map(itself, words)]
    if lists := secrets.env_lists:
        before = [secrets.vcap] if _are_below_lists(secrets) else []
        made["envFrom"] = [{"secretRef": {"name": each.name}} for each in (*before, lists) if each is not None]
    if variables:
        made["env"] = [*variables]
    if part.is_web:
        made["ports"] = [{"name": "http", "containerPort": PORT, "protocol": "TCP"}]
    made |= part.probes
    if part.lifecycle is not None:
        made["lifecycle"] = part.lifecycle
    if resources := _resources(part.limits):
        made["resources"] = resources
    if part.ends:
        made["terminationMessagePolicy"] = "FallbackToLogsOnError"
    made["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {**made, "volumeMounts": _mounts(secrets)}


def _variables(app: App, part: Part, secrets: Secrets) -> list[Object]:
    """Return the variables of a container: each is there once, and the more particular one counts."""
    found: dict[str, Object] = {}
    if part.is_web:
        found["PORT"] = {"name": "PORT", "value": str(PORT)}
    kind, _, name = part.id.partition(".")
    if kind == "process":
        found["RECONCILER_PROCESS"] = {"name": "RECONCILER_PROCESS", "value": name}
    if vcap := secrets.vcap:
        found["SERVICE_BINDING_ROOT"] = {"name": "SERVICE_BINDING_ROOT", "value": _BINDINGS}
        if "DATABASE_URL" in vcap.keys and not _are_below_lists(secrets):
            found["DATABASE_URL"] = _reference("DATABASE_URL", vcap)
    for key, texts, files in (("env", app.env, app.env_files), (part.key, part.env, part.env_files)):
        shown, hidden = shown_and_hidden(texts)
        found |= {str(each["name"]): each for each in _texts({name: itself(text) for name, text in shown.items()})}
        found |= {name: _reference(name, secrets.env[key]) for name in sorted({*hidden, *files})}
    if vcap := secrets.vcap:
        path = f"{_VCAP}/{_VCAP_FILE}"
        found["VCAP_SERVICES_FILE_PATH"] = {"name": "VCAP_SERVICES_FILE_PATH", "value": path}
        if not _is_in_a_file_alone(vcap) and not _are_below_lists(secrets):
            found["VCAP_SERVICES"] = _reference("VCAP_SERVICES", vcap)
    return [found[name] for name in sorted(found)]


def _is_in_a_file_alone(vcap: Secret) -> bool:
    return is_too_long((vcap.data or {}).get("VCAP_SERVICES", ""))


def _are_below_lists(secrets: Secrets) -> bool:
    """Return whether the variables of services come before those of files of many, which count more, as on a host."""
    return secrets.vcap is not None and secrets.env_lists is not None and not _is_in_a_file_alone(secrets.vcap)


def _texts(texts: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": text} for name, text in sorted(texts.items())]


def _reference(name: str, secret: Secret) -> Object:
    which: Object = {"name": secret.name, "key": name}
    if name in secret.optional:
        which["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": which}}


def itself(text: str) -> str:
    """Return a text as it is to be written where the kubelet takes `$(NAME)` for a variable."""
    return text.replace("$", "$$")


def run(command: Command) -> tuple[str, ...]:
    """Return what an image is to be given to run a command; it fills in variables itself, as a host does."""
    words = replace(command, words=without_runner(command.words)).with_env
    return (EXPAND, *words) if command.expands else words


def _resources(limits: Limits) -> Object:
    """Return what a container may use, and is sure to have."""
    asked: Object = {}
    if limits.cpu is not None:
        asked["cpu"] = f"{max(1, round(limits.cpu * 1000))}m"
    if limits.memory is not None:
        asked["memory"] = _quantity(limits.memory)
    if limits.disk is not None:
        asked["ephemeral-storage"] = _quantity(limits.disk)
    return {"requests": asked, "limits": dict(asked)} if asked else {}


def _quantity(size: int) -> str:
    return str(size) if size % _MIB else f"{size // _MIB}Mi"


def _mounts(secrets: Secrets) -> list[Json]:
    found: list[Json] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  in the container, where all else is read-only
    if secrets.vcap:
        found.append({"name": "services", "mountPath": _VCAP, "readOnly": True})
    for index, directory in enumerate(secrets.bindings):
        found.append({"name": f"binding-{index}", "mountPath": f"{_BINDINGS}/{directory}", "readOnly": True})
    return found


def _volumes(app: App, secrets: Secrets) -> list[Json]:
    scratch: Object = {} if app.limits.disk is None else {"sizeLimit": _quantity(app.limits.disk)}
    found: list[Json] = [{"name": "tmp", "emptyDir": scratch}]
    if secrets.vcap:
        items: list[Json] = [{"key": "VCAP_SERVICES", "path": _VCAP_FILE}]
        found.append(
            {"name": "services", "secret": {"secretName": secrets.vcap.name, "items": items, "defaultMode": _READABLE}}
        )
    for index, secret in enumerate(secrets.bindings.values()):
        found.append({"name": f"binding-{index}", "secret": {"secretName": secret.name, "defaultMode": _READABLE}})
    return found
