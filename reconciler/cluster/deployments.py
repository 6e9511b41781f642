"""The Deployments of an app: of its web server, with what goes with it, and of its processes.

What serves ends only when its successor is ready, and goes on serving until the cluster sends it nothing more.
"""

from collections.abc import Iterator

from reconciler.cluster.names import dns_name
from reconciler.cluster.pods import PYTHON, START, Object, Part, itself, run, selector, template, whole
from reconciler.cluster.secrets import Secrets
from reconciler.cluster.target import Target, instances_of
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Server
from reconciler.planning.command_line import Command
from reconciler.planning.fingerprint import Json
from reconciler.planning.processes.process import After, Answers, Process
from reconciler.planning.processes.stop import StopSequence
from reconciler.planning.scaling.instance_range import InstanceRange

_MARGIN_S = 5  # in which a program ends that has nothing more to do
_SLACK_S = 60  # for what a rollout takes besides: scheduling, and fetching the image
_FEW = 4
_HOST = "127.0.0.1:8000"  # what gates of an image say in the Host header


def web(app: App, target: Target, secrets: Secrets) -> Iterator[tuple[str, str, str, Object]]:
    """Yield what serves an app: kind, name, part and the rest of each object."""
    if not app.recipe.web:
        return
    part, instances, stopped = _web_part(app, target), instances_of(app, target), app.state == "stopped"
    least = 0 if stopped else instances.least
    scaled = instances.most is not None and not stopped
    spec = _deployment(app, part, template(app, part, target, secrets), None if scaled else least)
    spec["strategy"] = _rolling("25%" if max(least, instances.most or 0) > _FEW else 1)
    yield "Deployment", app.name, "web", {"spec": spec}
    port = 80 if app.address is None else app.address.port
    ports: Json = [{"name": "http", "port": port, "protocol": "TCP", "targetPort": "http"}]
    yield "Service", app.name, "web", {"spec": {"type": "ClusterIP", "selector": selector(app, "web"), "ports": ports}}
    if scaled:
        yield "HorizontalPodAutoscaler", app.name, "web", {"spec": _autoscaler(app, instances)}
    if instances.are_several and not stopped:
        budget: Object = {"maxUnavailable": 1, "selector": {"matchLabels": selector(app, "web")}}
        yield "PodDisruptionBudget", app.name, "web", {"spec": budget}


def processes(app: App, target: Target, secrets: Secrets) -> Iterator[tuple[str, str, str, Object]]:
    """Yield the Deployment of each process that says what it runs."""
    for process in app.processes:
        if process.command is None:
            continue
        part = _process_part(process, process.command)
        count = 0 if app.state == "stopped" else process.count
        spec = _deployment(app, part, template(app, part, target, secrets), count)
        alone = process.is_single(process.command)
        spec["strategy"] = {"type": "Recreate"} if alone else _rolling("25%" if count > _FEW else 1)
        ready_s = process.ready.seconds if isinstance(process.ready, After) else 0
        spec["minReadySeconds"] = whole(ready_s)
        spec["progressDeadlineSeconds"] = whole(ready_s) + whole(process.start_timeout_s) + _SLACK_S
        yield "Deployment", f"{app.name}-{dns_name(process.name)}", part.id, {"spec": spec}


def _deployment(app: App, part: Part, pod: Object, replicas: int | None) -> Object:
    start_s, ready_s = whole(app.server.start_timeout_s), whole(app.probation_s)
    counted: Object = {} if replicas is None else {"replicas": replicas}
    return {
        **counted,
        "selector": {"matchLabels": selector(app, part.id)},
        "minReadySeconds": ready_s,
        "progressDeadlineSeconds": start_s + ready_s + _SLACK_S,
        "strategy": {},
        "template": pod,
    }


def _rolling(surge: int | str) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}


def _web_part(app: App, target: Target) -> Part:
    pause: list[Json] = [PYTHON, "-I", "-c", f"import time; time.sleep({target.drain_s})"]
    grace_s = target.drain_s + whole(app.server.stop_timeout_s) + _MARGIN_S
    return Part(
        id="web",
        limits=app.limits,
        grace_s=grace_s,
        probes=_web_probes(app, app.server),
        lifecycle={"preStop": {"exec": {"command": pause}}} if target.drain_s else None,
    )


def _web_probes(app: App, server: Server) -> Object:
    health = server.health
    at: Object = {"exec": {"command": [PYTHON, "-I", "/reconciler/run/ready.py"]}}
    again: Object = {"tcpSocket": {"port": "http"}}
    timeout_s = whole(health.timeout_s) if health is not None else 5
    if health is not None:
        headers: Json = [{"name": "Host", "value": health.host or _HOST}]
        at = again = {"httpGet": {"path": health.path, "port": "http", "httpHeaders": headers}}
    tries = max(1, whole(server.start_timeout_s))
    return {
        "startupProbe": {**at, "periodSeconds": 1, "timeoutSeconds": timeout_s, "failureThreshold": tries},
        "readinessProbe": {
            **again,
            "periodSeconds": whole(app.liveness.interval_s),
            "timeoutSeconds": timeout_s,
            "failureThreshold": app.liveness.failures,
        },
    }


def _autoscaler(app: App, instances: InstanceRange) -> Object:
    at: Object = {"type": "Utilization", "averageUtilization": instances.cpu}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
        "minReplicas": instances.least,
        "maxReplicas": instances.most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": at}}],
    }


def _process_part(process: Process, command: Command) -> Part:
    stop = process.stop_of(command)
    return Part(
        id=f"process.{process.name}",
        key=f"processes.{process.name}",
        command=command,
        env=process.env,
        env_files=process.env_files,
        limits=process.limits,
        grace_s=whole(stop.kill_after_s) + _MARGIN_S,
        probes=_process_probes(process),
        lifecycle=_stops(stop),
    )


def _stops(stop: StopSequence) -> Json:
    """Return the hook that sends other signals than the kubelet does, None if it sends the one that is asked for."""
    if [step.signal for step in stop.steps] == ["TERM"]:
        return None
    words = [word for step in stop.steps for word in (step.signal, f"{step.wait_s:g}")]
    return {"preStop": {"exec": {"command": [PYTHON, "-I", "/reconciler/run/stop.py", *words]}}}


def _process_probes(process: Process) -> Object:
    found: Object = {}
    if isinstance(process.ready, Answers):
        command = _run(process.ready.command)
        tries = max(1, whole(process.start_timeout_s))
        found["startupProbe"] = {**command, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": tries}
        found["readinessProbe"] = {**command, "periodSeconds": 60, "timeoutSeconds": 10, "failureThreshold": 3}
    if alive := process.alive:
        found["livenessProbe"] = {
            **_run(alive.command),
            "periodSeconds": whole(alive.interval_s),
            "timeoutSeconds": whole(alive.timeout_s),
            "failureThreshold": alive.failures,
        }
    return found


def _run(command: Command) -> Object:
    return {"exec": {"command": [*START, *map(itself, run(command))]}}
