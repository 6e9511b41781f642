"""What becomes of each field of a manifest in a cluster: the one table, from which the reference is written.

Every field of the schema is in it, or below a field that is: so none is left out without a word.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

# mapped: an object has it. image: the image has it. told: it differs there, which is said where a manifest sets it.
# refused: an app whose manifest sets it is not exported. host: only this host has to do with it.
Fate: TypeAlias = Literal["mapped", "image", "told", "refused", "host"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a field, and in a few words how; of one that is refused, why, and what an operator may do."""

    fate: Fate
    words: str


def _mapped(words: str) -> Verdict:
    return Verdict("mapped", words)


def _told(words: str) -> Verdict:
    return Verdict("told", words)


def _refused(words: str) -> Verdict:
    return Verdict("refused", words)


def _host(words: str) -> Verdict:
    return Verdict("host", words)


_STAGED = Verdict("image", "how the build is made, which the image holds")
_GUNICORN = Verdict("image", "gunicorn's configuration, which the image holds")
_REQUESTS = "requests and limits of the container"
_PER_POD = "no pod has such a limit of its own: remove it, or keep the app on a host"
_BY_ROUTE = "neither an Ingress nor a Gateway route says it in a way that every controller heeds"
_DELAYS = "the delays between tries are the cluster's own"
_COUNTED = "no object counts what waits: set 'count', and scale the Deployment by what watches the queue, such as KEDA"

FIELDS: Mapping[str, Verdict] = {
    "kind": _host("says that the document is an app"),
    "place": _host("says in which cluster an app runs, if in one"),
    "name": _mapped("the name of the objects, and the label `reconciler.dev/app`"),
    # The build.
    **dict.fromkeys(("runtime", "path", "source", "entrypoint", "build", "dependencies"), _STAGED),
    "watch": _host("the image is of one source: an edit is another image"),
    "command": _refused("an image holds an app of Python that gunicorn serves: keep the app on a host"),
    "listen": _refused("an image holds an app of Python that gunicorn serves: keep the app on a host"),
    "persist": _refused("a pod keeps no file: have the app write to a service"),
    # gunicorn.
    **dict.fromkeys(("workers", "threads", "worker_class", "gunicorn", "access_log"), _GUNICORN),
    **dict.fromkeys(
        ("workers.min", "workers.max", "workers.busy", "workers.queue", "workers.calm", "workers.spare"),
        _refused("nothing scales workers in a pod: give a number here, and a range in 'instances'"),
    ),
    "instances": _mapped("`replicas` of the Deployment, and with two or more a PodDisruptionBudget"),
    "instances.min": _mapped("`minReplicas` of a HorizontalPodAutoscaler; the Deployment then has no `replicas`"),
    "instances.max": _mapped("`maxReplicas` of the HorizontalPodAutoscaler"),
    "instances.cpu": _mapped("`averageUtilization` of its metric `cpu`, of what `limits.cpu` asks for"),
    # Configuration and services.
    "env": _mapped("variables of the containers; one with the name of a secret comes from the Secret `APP-env`"),
    "env_files": _mapped("variables from the Secret `APP-env-files`"),
    "services": _mapped("Secrets: `VCAP_SERVICES` and `DATABASE_URL`, and a directory of each below `/bindings`"),
    "services.name": _mapped("the binding's Secret"),
    "services.binding_name": _mapped("the binding's directory and Secret"),
    "services.parameters": _host("the daemon of a host gets the credentials"),
    # The address.
    "port": _mapped("the port of the Service; 80 without it"),
    "host": _refused("a pod has an address of its own: remove it"),
    "domains": _mapped("hosts of an Ingress or host names of a Gateway route, by --ingress-class or --gateway"),
    "redirects": _mapped("a Gateway route that redirects, with status 301"),
    "below": _mapped("the path of the route"),
    "strip": _mapped("a Gateway route that replaces the prefix"),
    "tls": _mapped("the Secret `APP-tls` of an Ingress; the certificates of a Gateway are its listeners'"),
    "http": _told("what the port without TLS does is the Ingress controller's or the Gateway listener's to say"),
    "hsts": _mapped("a header that a Gateway route sets"),
    "body_limit": _refused(f"{_BY_ROUTE}: remove it, and set it at the controller"),
    "answer_timeout": _refused(f"{_BY_ROUTE}: remove it, and set it at the controller"),
    "login": _refused(f"{_BY_ROUTE}, and an app must not be served without it: have the app itself ask"),
    "allow_from": _refused(f"{_BY_ROUTE}, and an app must not be served without it: keep the app on a host"),
    "static": _refused("a pod's files are its app's alone: have the app serve them, as with WhiteNoise, and remove it"),
    # Before it serves.
    "release": _mapped("the Job `APP-release-…`, to be applied first"),
    "release.command": _mapped("the Job's command"),
    "release.retry": _mapped("`backoffLimit` of the Job: 6 instead of 0"),
    "depends_on": _told("objects wait for no others: apply those of the other app first"),
    "health.path": _mapped("`httpGet` of the startup and readiness probes"),
    "health.host": _mapped("the Host header of the probes"),
    "health.interval": _mapped("`periodSeconds` of the readiness probe; whole seconds"),
    "health.timeout": _mapped("`timeoutSeconds` of the probes; whole seconds"),
    "health.failures": _mapped("`failureThreshold` of the readiness probe: the pod then gets no requests"),
    "health.start_timeout": _mapped("`failureThreshold` of the startup probe, and `progressDeadlineSeconds`"),
    "probation": _mapped("`minReadySeconds`"),
    "stop_timeout": _mapped("`terminationGracePeriodSeconds`, with the drain"),
    # What it does.
    "state": _mapped("`replicas: 0` for `stopped`, and CronJobs suspended; `maintenance` is refused"),
    "web": _mapped("without it, no Deployment and Service of a web server"),
    "idle_after": _refused("a cluster keeps its pods running: remove it, or keep the app on a host"),
    "start": _refused("a pod starts at once: remove it, or keep the app on a host"),
    "crash": _refused("the delay before a container is started again is the kubelet's own: remove it"),
    "patience": _refused("a Service holds no connection while no pod is ready: remove it"),
    "holding_page": _told(
        "while no pod is ready, the Ingress controller or the Gateway answers, with a page of its own"
    ),
    "canary": _refused("a Deployment has no canary: remove it, and use what the cluster has for that"),
    # What keeps it in bounds.
    "limits.memory": _mapped(_REQUESTS),
    "limits.soft": _refused("no pod is replaced before it is out of memory: remove it"),
    "limits.cpu": _mapped(_REQUESTS),
    "limits.processes": _refused(_PER_POD),
    "limits.files": _refused(_PER_POD),
    "limits.disk": _mapped("the request and limit `ephemeral-storage`"),
    "isolation": _told("a pod is kept apart by its container, which has no root, no capability and a read-only root"),
    "network.connect": _mapped("a NetworkPolicy: without egress for `none`, with the networks and ports of a list"),
    "network.listen": _told("a container may open any port; only that of the web server is the Service's"),
    "mounts": _refused("a pod has no directory of a host: have the app write to a service"),
    # Processes.
    "processes": _mapped("a Deployment of each"),
    "processes.*.command": _mapped("the arguments of the container"),
    "processes.*.count": _mapped("`replicas`"),
    "processes.*.scale": _refused(_COUNTED),
    "processes.*.single": _mapped("the strategy `Recreate`, so that a new pod waits for the end of the old one"),
    "processes.*.stop_timeout": _mapped("`terminationGracePeriodSeconds`"),
    "processes.*.stop": _mapped("a `preStop` hook that sends the signals"),
    "processes.*.ready": _mapped("`minReadySeconds`, or startup and readiness probes"),
    "processes.*.ready.after": _mapped("`minReadySeconds`"),
    "processes.*.ready.command": _mapped("`exec` of the startup and readiness probes"),
    "processes.*.start_timeout": _mapped("`failureThreshold` of the startup probe, and `progressDeadlineSeconds`"),
    "processes.*.watchdog": _refused("no kubelet hears WATCHDOG=1: use 'alive'"),
    "processes.*.alive": _mapped("the liveness probe"),
    "processes.*.alive.command": _mapped("`exec` of the liveness probe"),
    "processes.*.alive.interval": _mapped("`periodSeconds` of the liveness probe; whole seconds"),
    "processes.*.alive.timeout": _mapped("`timeoutSeconds` of the liveness probe; whole seconds"),
    "processes.*.alive.failures": _mapped("`failureThreshold` of the liveness probe"),
    "processes.*.env": _mapped("variables of the container, or of the Secret `APP-PROCESS-env`"),
    "processes.*.required": _told("Deployments roll out by themselves: none waits for another one"),
    "processes.*.limits.memory": _mapped(_REQUESTS),
    "processes.*.limits.soft": _refused("no pod is replaced before it is out of memory: remove it"),
    "processes.*.limits.cpu": _mapped(_REQUESTS),
    "processes.*.limits.processes": _refused(_PER_POD),
    "processes.*.limits.files": _refused(_PER_POD),
    # Schedules.
    "schedules": _mapped("a CronJob of each"),
    "schedules.*.command": _mapped("the arguments of the container"),
    "schedules.*.env": _mapped("variables of the container, or of the Secret `APP-SCHEDULE-env`"),
    "schedules.*.at": _mapped("`schedule`"),
    "schedules.*.every": _mapped("`schedule`, where the hour or the day is a multiple of it"),
    "schedules.*.zone": _mapped("`timeZone`"),
    "schedules.*.timeout": _mapped("`activeDeadlineSeconds`"),
    "schedules.*.overlap": _mapped("`concurrencyPolicy`; `queue` is refused"),
    "schedules.*.missed": _mapped("`startingDeadlineSeconds`: 60 for `skip`; `all` is refused"),
    "schedules.*.within": _mapped("`startingDeadlineSeconds`"),
    "schedules.*.retries.count": _mapped("`backoffLimit`"),
    "schedules.*.retries.first": _refused(f"{_DELAYS}: remove it"),
    "schedules.*.retries.cap": _refused(f"{_DELAYS}: remove it"),
    "schedules.*.spread": _refused("a CronJob starts at its time: remove it, and choose another minute"),
    "schedules.*.ping": _refused("no Job calls a URL: have the command do that, and remove it"),
    "schedules.*.paused": _mapped("`suspend`"),
    "schedules.*.keep": _mapped("`successfulJobsHistoryLimit` and `failedJobsHistoryLimit`"),
}


def verdict_of(path: str) -> Verdict | None:
    """Return what becomes of a field, such as `processes.*.stop`: what is said of it, or of a field that it is part of.

    Part of one that is mapped is not meant with it, unless that is a list or a map of texts: None is said of it then.
    """
    own = FIELDS.get(path)
    while own is None and "." in path:
        path = path.rpartition(".")[0]
        own = FIELDS.get(path)
        if own is not None and own.fate == "mapped" and path not in _WHOLE:
            return None
    return own


# Mapped with all that is below them.
_WHOLE = frozenset(("env", "processes.*.env", "schedules.*.env", "tls"))
