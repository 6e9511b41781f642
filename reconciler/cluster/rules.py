"""What of a manifest no object says, by the values of its fields, and what differs by them."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from reconciler.cluster.cron import cron_of
from reconciler.cluster.egress import names_of
from reconciler.cluster.names import dns_name
from reconciler.cluster.secrets import MOST_BYTES, secrets_of, too_large
from reconciler.cluster.target import Gateway, IngressClass, Target, Values, instances_of
from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.planning.apps.app import App
from reconciler.planning.processes.process import Notifies, Process
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.services.service import Service, directory_of

_LONGEST_PART = 50  # of a label, with what is before it
_LONGEST_CRON_JOB = 52  # of a name, to which the cluster adds the time
_MOST_HOSTNAMES = 16
_NO_FILE = "no container sees the files of this host"
_FILES_OF_HOST = ("certfile", "keyfile", "ca_certs", "tmp_upload_dir", "worker_tmp_dir", "statsd_socket", "pythonpath")
_IN_IMAGE = ("/tmp", "/dev/shm", "/reconciler")  # noqa: S108  of the container
_WHOLE = ("interval", "timeout")


def refused_values(
    app: App, tree: Node, target: Target, services: Mapping[str, Service], values: Values | None
) -> Iterator[tuple[Path, str]]:
    """Yield the fields whose values keep an app from being exported, and why."""
    yield from _of_web(app, tree, target)
    yield from _of_durations(tree)
    yield from _of_routes(app, target)
    yield from _of_services(app, services, values)
    for process in app.processes:
        yield from _of_process(process)
    for schedule in app.schedules:
        yield from _of_schedule(app, schedule)
    yield from _of_names(app)
    if named := names_of(app):
        yield ("network", "connect"), f"a NetworkPolicy knows networks and ports alone: write those of {named[0]}"
    for secret in too_large(secrets_of(app, services, values, by_content=False)):
        yield (), f"the Secret {secret.name} is larger than {MOST_BYTES >> 20} MiB, the most that a cluster takes"


def _of_web(app: App, tree: Node, target: Target) -> Iterator[tuple[Path, str]]:
    if app.recipe.web and app.name[0].isdigit():
        yield ("name",), "a Service's name begins with a letter: choose another name"
    workers = tree.given("workers")
    if workers is not None and workers.value == "auto":
        yield ("workers",), "no image knows how many processors a node has: give a number"
    for name in _FILES_OF_HOST:
        given = str(app.server.settings.get(name, ""))
        if given.startswith("/") and not any(f"{given}/".startswith(f"{each}/") for each in _IN_IMAGE):
            yield ("gunicorn", name), f"{_NO_FILE}: remove it"
    if app.state == "maintenance":
        yield ("state",), "no pod holds requests: set it to stopped, and have the route answer"
    if instances_of(app, target).most is not None and app.limits.cpu is None:
        place: Path = ("instances",) if "instances" in tree.keys else ("limits",)
        yield place, "a range goes by the share of 'limits.cpu' that is used: set that, or give one number"


def _of_durations(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield the durations that kubelets know in whole seconds only, and that would be others if they were rounded."""
    places: list[tuple[str, ...]] = [("health",)]
    processes = tree.given("processes")
    places += [("processes", str(name), "alive") for name in (processes.parts if processes is not None else ())]
    for place in places:
        for name in _WHOLE:
            seconds = tree.seconds(*place, name)
            if seconds is not None and (seconds < 1 or seconds % 1):
                yield (*place, name), "a probe has whole seconds, at least 1"


def _of_routes(app: App, target: Target) -> Iterator[tuple[Path, str]]:
    gateway, ingress = target.option("gateway"), target.option("ingress_class")
    if app.routing is not None and isinstance(target.route, Gateway):
        for name, names in (("domains", app.routing.domains), ("redirects", app.routing.redirects)):
            if len(names) > _MOST_HOSTNAMES:
                yield (
                    (name,),
                    f"a Gateway route has at most {_MOST_HOSTNAMES} names: use a wildcard, or {ingress}",
                )
    if app.routing is None or not isinstance(target.route, IngressClass):
        return
    remedy = f"no Ingress says it in a way that every controller heeds: use {gateway}, or remove it"
    given = {"redirects": app.routing.redirects, "strip": app.routing.strip, "hsts": app.routing.hsts_s is not None}
    yield from (((name,), remedy) for name, value in given.items() if value)


def _of_services(app: App, services: Mapping[str, Service], values: Values | None) -> Iterator[tuple[Path, str]]:
    for index, binding in enumerate(app.bindings):
        service = services.get(binding.service)
        if service is None:
            yield ("services", index), f"no manifest defines {binding.service}: add it, or remove the binding"
        elif service.type == "sqlite":
            message = "is a file on this host (sqlite): bind a service of a server, or keep the app on a host"
            yield ("services", index), message
        files = {} if values is None else values.files.get(directory_of(binding.name or binding.service), {})
        if where := _only_here(files):
            message = f"is reached at {where}, which a pod is not: give the server an address that pods reach"
            yield ("services", index), message


def _only_here(files: Mapping[str, str]) -> str:
    """Return the address among credentials that leads to the host itself, "" if there is none."""
    host = files.get("host") or files.get("hostname") or ""
    if host.startswith("/") or host == "localhost":
        return host
    try:
        return host if ip_address(host).is_loopback else ""
    except ValueError:
        return ""


def _of_process(process: Process) -> Iterator[tuple[Path, str]]:
    place: Path = ("processes", process.name)
    if process.command is None:
        yield place, "no pod is made of a line of a Procfile: write it here, as 'command'"
    if isinstance(process.ready, Notifies):
        yield (*place, "ready"), "no kubelet hears READY=1: use a command, or a length of time"
    if len(process.name) > _LONGEST_PART:
        yield place, f"has a name of more than {_LONGEST_PART} characters: shorten it"


def _of_schedule(app: App, schedule: Schedule) -> Iterator[tuple[Path, str]]:
    place: Path = ("schedules", schedule.name)
    if cron_of(schedule) is None:
        if schedule.at is None:
            yield (*place, "every"), "a CronJob has times of the clock: write them in 'at'"
        else:
            yield (*place, "at"), "a CronJob has no such times: name them by numbers, or split the schedule"
    if schedule.overlap == "queue":
        yield (*place, "overlap"), "a CronJob has no queue: choose skip, replace or allow"
    if schedule.missed == "all":
        yield (*place, "missed"), "a CronJob makes up for one at most: choose once or skip"
    longest = _LONGEST_CRON_JOB - len(app.name) - 1
    if len(schedule.name) > longest:
        message = f"a CronJob's name, {app.name}-{dns_name(schedule.name)}, has at most {_LONGEST_CRON_JOB} characters"
        yield place, f"{message}: shorten it"


def _of_names(app: App) -> Iterator[tuple[Path, str]]:
    """Yield the processes and schedules that would have the objects of others."""
    for kind, parts in (("processes", app.processes), ("schedules", app.schedules)):
        seen: dict[str, str] = {}
        for part in parts:
            name = dns_name(part.name)
            if name in seen:
                yield (kind, part.name), f"its objects would have the names of those of {seen[name]}: rename one"
            seen.setdefault(name, part.name)
    of_processes = {dns_name(process.name) for process in app.processes if process.env_files}
    for schedule in app.schedules:
        if schedule.env_files and dns_name(schedule.name) in of_processes:
            yield ("schedules", schedule.name), "its Secret would have the name of that of the process: rename one"


def told_values(app: App, tree: Node, target: Target) -> Iterator[tuple[Path, str]]:
    """Yield the fields that mean something else in a cluster by their values, and what."""
    if app.routing is not None and target.route is None:
        either = f"{target.option('gateway')} or {target.option('ingress_class')}"
        yield ("domains",), f"no route leads to it: give {either}, or make one"
    if app.routing is not None and isinstance(target.route, Gateway) and "tls" in tree.keys:
        yield ("tls",), "the listeners of the Gateway have the certificates"
    if app.server.health is not None:
        yield ("health", "path"), "while a pod serves, an answer of 3xx is as good as one of 2xx"
    if app.limits.memory is not None:
        yield ("limits", "memory"), "a container beyond it is killed; no new one takes over before"
    if app.isolation.connects != "all":
        yield ("network", "connect"), "a NetworkPolicy has effect only where the cluster's network heeds it"
    if app.isolation.places and app.bindings:
        yield ("network", "connect"), "in a cluster the list has to have the servers of services, too"
    yield from _told_of_programs(app)


def _told_of_programs(app: App) -> Iterator[tuple[Path, str]]:
    if app.release is not None:
        yield ("release",), "its Job has to be complete before the rest is applied; nothing of what it writes is kept"
    for process in app.processes:
        if process.command is not None and process.is_single(process.command):
            message = "there may be two for a while after the loss of a node, whose pod cannot be told to end"
            yield ("processes", process.name), message
    for schedule in app.schedules:
        if schedule.at is None:
            yield ("schedules", schedule.name, "every"), "it counts from the hour or the day, not from its last start"
