"""Metrics of the host in Prometheus' text format, version 0.0.4."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from reconciler.control.requests import Refused
from reconciler.control.socket import ask
from reconciler.inspection.backups import last_good
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.listen_queues import Queue
from reconciler.linux.pressure import Stall, of_host
from reconciler.metrics import counters
from reconciler.metrics.sample import AppSample, Sampler
from reconciler.planning.states import APP_STATES, SERVICE_STATES, StateInfo
from reconciler.serving.gate_figures import BOUNDS_S
from reconciler.state.paths import StatePaths

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REFUSED_WEBHOOKS = "reconciler_webhooks_refused_total"
_NO_STALLS: Mapping[str, Stall] = {}
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

Apps = Mapping[str, AppSample]
Times = Mapping[str, float]
Origins = Sequence[Mapping[str, Any]]
_Type = Literal["counter", "gauge", "histogram"]
_Sample = tuple[str, Mapping[str, str], float]


def render(paths: StatePaths) -> str:
    """Return all metrics of a host, without the daemon's own while none is running; raises sqlite3.Error. Blocks."""
    daemon: dict[str, Any] | None = None
    with contextlib.suppress(OSError, Refused, ValueError):
        daemon = ask(paths.control, {"do": "metrics"})
    with contextlib.closing(HostSnapshot(paths)) as snapshot:
        apps = Sampler(paths).sample_of(snapshot, snapshot.names)
        return text(daemon, apps, _backups(snapshot), snapshot.origins, snapshot.domains, of_host())


def _backups(snapshot: HostSnapshot) -> Times:
    now = time.time()  # noqa: TID251  to compare with the times that files have
    with contextlib.suppress(OSError):
        return last_good(snapshot, now)
    return {}


def text(  # noqa: PLR0913, PLR0917  each a part of the host
    daemon: Mapping[str, Any] | None,
    apps: Apps,
    backups: Times,
    origins: Origins = (),
    domains: Origins = (),
    host: Mapping[str, Stall] = _NO_STALLS,
) -> str:
    """Return the metrics of a daemon, None when there is none, of the apps, of services by their last backup, and of
    origins in git and domains by their facts, and of this host by resource.
    """
    families = [_family("reconciler_up", "gauge", "Whether the daemon answers.", [("", {}, float(daemon is not None))])]
    if daemon is not None:
        families += [_family(name, kind, meaning, samples(daemon)) for name, kind, meaning, samples in _DAEMON_METRICS]
    families += [_family(name, kind, meaning, samples(apps)) for name, kind, meaning, samples in _APP_METRICS]
    families.append(_family(*_HOST_PRESSURE, [("", {"resource": name}, stall.seconds) for name, stall in host.items()]))
    families.append(_family(*_LAST_BACKUP, [("", {"service": name}, at) for name, at in sorted(backups.items())]))
    families += [_family(name, kind, meaning, samples(origins)) for name, kind, meaning, samples in _ORIGIN_METRICS]
    families += [_family(name, kind, meaning, samples(domains)) for name, kind, meaning, samples in _DOMAIN_METRICS]
    return "".join(line for family in families for line in family)


def refused_webhooks(counts: Mapping[str, int]) -> str:
    """Return how many calls of webhooks a web process has refused, by repository; none where there was none."""
    samples: list[_Sample] = [("", {"repository": name}, count) for name, count in sorted(counts.items())]
    family = _family(_REFUSED_WEBHOOKS, "counter", "Calls of webhooks that were refused.", samples)
    return "".join(family) if samples else ""


def _family(name: str, kind: _Type, meaning: str, samples: Sequence[_Sample]) -> list[str]:
    head = [f"# HELP {name} {meaning}\n", f"# TYPE {name} {kind}\n"]
    return [*head, *(f"{name}{suffix}{_labels(labels)} {_number(value)}\n" for suffix, labels, value in samples)]


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _histogram(
    labels: Mapping[str, str], bounds: Sequence[float], buckets: Sequence[int], seconds: float
) -> Iterator[_Sample]:
    """Yield the samples of a histogram; `buckets` counts values by the first bound they do not exceed, or none."""
    so_far = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), buckets, strict=True):
        so_far += count
        yield "_bucket", {**labels, "le": bound}, so_far
    yield "_sum", labels, seconds
    yield "_count", labels, so_far


def _actions(daemon: Mapping[str, Any]) -> list[_Sample]:
    return [("", {"action": kind, "outcome": outcome}, count) for kind, outcome, count in daemon["actions"]]


def _durations(daemon: Mapping[str, Any]) -> list[_Sample]:
    return [
        each
        for kind, took in daemon["durations"].items()
        for each in _histogram({"action": kind}, counters.BOUNDS_S, took["buckets"], took["seconds"])
    ]


def _by_state(key: str, states: Sequence[StateInfo]) -> Callable[[Mapping[str, Any]], list[_Sample]]:
    """Count the apps or services of a daemon in each state; `key` is theirs in its figures."""
    return lambda daemon: [
        ("", {"state": state.name}, list(daemon[key].values()).count(state.name)) for state in states
    ]


def _state_of_each(key: str, label: str) -> Callable[[Mapping[str, Any]], list[_Sample]]:
    return lambda daemon: [("", {label: name, "state": state}, 1) for name, state in sorted(daemon[key].items())]


def _probes(daemon: Mapping[str, Any]) -> list[_Sample]:
    return [
        ("", {"app": app, "result": "success" if healthy else "failure"}, n) for app, healthy, n in daemon["probes"]
    ]


def _of_process(name: str) -> dict[str, str]:
    app, _, process = name.partition("/")
    return {"app": app, "process": process}


def _processes(daemon: Mapping[str, Any]) -> list[_Sample]:
    counts = daemon.get("processes", {}).items()
    return [("", {**_of_process(name), "state": state}, n) for name, each in counts for state, n in each.items()]


def _handover(daemon: Mapping[str, Any]) -> list[_Sample]:
    took = daemon["handover"]
    return list(_histogram({}, counters.BOUNDS_S, took["buckets"], took["seconds"]))


def _one(name: str) -> Callable[[Mapping[str, Any]], list[_Sample]]:
    return lambda daemon: [("", {}, daemon[name])]


def _each(value: Callable[[AppSample], float]) -> Callable[[Apps], list[_Sample]]:
    return lambda apps: [("", {"app": name}, value(app)) for name, app in apps.items()]


def _requests(apps: Apps) -> list[_Sample]:
    return [
        ("", {"app": name, "code": code}, count)
        for name, app in apps.items()
        for code, count in zip(_CLASSES, app.figures.classes, strict=True)
    ]


def _latencies(apps: Apps) -> list[_Sample]:
    return [
        each
        for name, app in apps.items()
        for each in _histogram({"app": name}, BOUNDS_S, app.figures.buckets, app.figures.seconds)
    ]


def _queue_waits(apps: Apps) -> list[_Sample]:
    return [
        each
        for name, app in apps.items()
        for each in _histogram({"app": name}, BOUNDS_S, app.figures.waits, app.figures.waited_s)
    ]


def _of_queue(value: Callable[[Queue], float]) -> Callable[[Apps], list[_Sample]]:
    return lambda apps: [("", {"app": name}, value(app.queue)) for name, app in apps.items() if app.queue is not None]


def _cpu(apps: Apps) -> list[_Sample]:
    return [
        ("", {"app": n, "instance_id": id_}, seconds) for n, app in apps.items() for id_, seconds in app.cpu.items()
    ]


def _commits(which: str) -> Callable[[Origins], list[_Sample]]:
    return lambda origins: [("", {"origin": o["name"], "commit": o[which]}, 1) for o in origins if o[which] is not None]


def _by_why(of: str) -> Callable[[Mapping[str, Any]], list[_Sample]]:
    return lambda daemon: [
        ("", {"origin": name, "why": why}, count)
        for name, figures in daemon.get("origins", {}).items()
        for why, count in figures[of].items()
    ]


def _fetches(daemon: Mapping[str, Any]) -> list[_Sample]:
    return [
        each
        for name, figures in daemon.get("origins", {}).items()
        for each in _histogram(
            {"origin": name}, counters.BOUNDS_S, figures["fetches"]["buckets"], figures["fetches"]["seconds"]
        )
    ]


def _known(which: str) -> Callable[[Origins], list[_Sample]]:
    """Tell a number of each origin of which it is known."""
    return lambda origins: [("", {"origin": o["name"]}, o[which]) for o in origins if o.get(which) is not None]


_DAEMON_METRICS: tuple[tuple[str, _Type, str, Callable[[Mapping[str, Any]], list[_Sample]]], ...] = (
    ("reconciler_apps", "gauge", "Apps by state.", _by_state("states", APP_STATES)),
    ("reconciler_app_state", "gauge", "1 for the state an app is in.", _state_of_each("states", "app")),
    ("reconciler_backlog_apps", "gauge", "Apps with an action left to do.", _one("backlog")),
    ("reconciler_services", "gauge", "Services by state.", _by_state("service_states", SERVICE_STATES)),
    ("reconciler_service_state", "gauge", "1 for the state a service is in.",
     _state_of_each("service_states", "service")),
    ("reconciler_service_backup_trouble", "gauge", "1 while the scheduled backups of a service are late or fail.",
     lambda daemon: [("", {"service": name, "reason": why}, 1) for name, why in daemon["backup_troubles"].items()]),
    ("reconciler_service_backup_failures_total", "counter", "Backups by a service's schedule that failed.",
     lambda daemon: [("", {"service": name}, count) for name, count in daemon["backup_failures"].items()]),
    ("reconciler_backlog_services", "gauge", "Services with an action left to do.", _one("service_backlog")),
    ("reconciler_unconverged_seconds", "gauge", "Time since every app and service was up to date, 0 while all are.",
     _one("unsettled_s")),
    ("reconciler_actions_total", "counter", "Actions on apps by outcome: done, failed, or given up for another.",
     _actions),
    ("reconciler_action_duration_seconds", "histogram", "Duration of actions on apps, whatever their outcome.",
     _durations),
    ("reconciler_staging_environments_total", "counter", "Builds by whether their environment was made or reused.",
     lambda daemon: [("", {"environment": e}, daemon["environments"].get(e, 0)) for e in ("made", "reused")]),
    ("reconciler_handover_duration_seconds", "histogram", "From the start of an instance until all its workers serve.",
     _handover),
    ("reconciler_app_restarts_total", "counter", "Instances that exited unexpectedly.",
     lambda daemon: [("", {"app": app}, daemon["deaths"].get(app, 0)) for app in sorted(daemon["states"])]),
    ("reconciler_app_limits_exceeded_total", "counter", "Times that an instance was near a limit or beyond it.",
     lambda daemon: [
         ("", {**_of_process(name), "limit": limit, "kind": kind}, count)
         for name, limit, kind, count in daemon.get("limits", ())
     ]),
    ("reconciler_app_probes_total", "counter", "Probes of an app's health path by result.", _probes),
    ("reconciler_process_instances", "gauge", "Instances of a process that is not web, by what they do.", _processes),
    ("reconciler_process_crashes_total", "counter", "Instances of a process that exited unexpectedly or were hung.",
     lambda daemon: [("", _of_process(name), n) for name, n in daemon.get("process_crashes", {}).items()]),
    ("reconciler_tasks_total", "counter", "Tasks that have ended, by kind and result.",
     lambda daemon: [("", {"kind": k, "result": r}, n) for k, r, n in daemon.get("tasks", ())]),
    ("reconciler_app_workers_wanted", "gauge", "Workers that an app with a range is to have.",
     lambda daemon: [("", {"app": name}, n) for name, n in daemon.get("workers_wanted", {}).items()]),
    ("reconciler_app_workers_busy_ratio", "gauge", "Share of their time that the workers of an app with a range work.",
     lambda daemon: [("", {"app": name}, n) for name, n in daemon.get("workers_busy", {}).items()]),
    ("reconciler_tasks_open", "gauge", "Tasks that are owed or running.",
     lambda daemon: [("", {"state": state}, n) for state, n in daemon.get("tasks_open", {}).items()]),
    ("reconciler_schedules_late_total", "counter", "Tasks of schedules that did not start within five minutes.",
     lambda daemon: [("", {}, daemon.get("schedules_late", 0))]),
    ("reconciler_schedule_failing", "gauge", "1 for a schedule whose last task failed.",
     lambda daemon: [("", {"schedule": name}, 1) for name in daemon.get("schedules_failing", ())]),
    ("reconciler_origin_fetch_duration_seconds", "histogram", "Duration of fetches, whatever their outcome.",
     _fetches),
    ("reconciler_origin_fetch_failures_total", "counter", "Fetches that failed.", _by_why("failures")),
    ("reconciler_origin_refused_total", "counter", "Commits that were judged and not accepted.", _by_why("refused")),
    ("reconciler_origin_webhooks_total", "counter", "Genuine calls of the webhook of an origin's repository.",
     lambda daemon: [("", {"origin": name}, each["calls"]) for name, each in daemon.get("origins", {}).items()]),
    ("reconciler_origin_hosts", "gauge", "Hosts of the fleet of an origin, as this one knows them.",
     lambda daemon: [
         ("", {"origin": name, "state": state}, number)
         for name, each in daemon.get("origins", {}).items()
         for state, number in each.get("hosts", {}).items()
     ]),
)  # fmt: skip

_APP_METRICS: tuple[tuple[str, _Type, str, Callable[[Apps], list[_Sample]]], ...] = (
    ("reconciler_app_requests_total", "counter", "Requests answered by class of status.", _requests),
    ("reconciler_app_request_duration_seconds", "histogram", "From a request's head to its answer's last byte.",
     _latencies),
    ("reconciler_app_queue", "gauge", "Connections that no worker has accepted yet.", _of_queue(lambda q: q.length)),
    ("reconciler_app_queue_limit", "gauge", "Connections that may wait; further ones are dropped.",
     _of_queue(lambda q: q.limit)),
    ("reconciler_app_queue_wait_seconds", "histogram", "How long requests waited for a worker.", _queue_waits),
    ("reconciler_app_requests_in_flight", "gauge", "Requests being worked on.", _each(lambda a: a.figures.in_flight)),
    ("reconciler_app_workers", "gauge", "Workers that accept requests.", _each(lambda a: a.figures.workers)),
    ("reconciler_app_workers_busy", "gauge", "Workers with a request in flight.", _each(lambda a: a.figures.busy)),
    ("reconciler_app_memory_bytes", "gauge", "Memory of an app's processes, shared pages in part.",
     _each(lambda a: a.memory)),
    ("reconciler_app_cpu_seconds_total", "counter", "Processor time of an app's processes by instance.", _cpu),
    ("reconciler_app_memory_limit_bytes", "gauge", "The memory that each instance of an app is held to.",
     lambda apps: [("", {"app": n}, app.memory_limit) for n, app in apps.items() if app.memory_limit is not None]),
    ("reconciler_app_pressure_seconds_total", "counter", "Time in which a process of an instance waited.",
     lambda apps: [
         ("", {"app": name, "instance_id": id_, "resource": resource}, seconds)
         for name, app in apps.items()
         for (id_, resource), seconds in app.waited.items()
     ]),
)  # fmt: skip

_HOST_PRESSURE: tuple[str, _Type, str] = (
    "reconciler_host_pressure_seconds_total", "counter", "Time in which a process of this host waited for a resource.",
)  # fmt: skip

_LAST_BACKUP: tuple[str, _Type, str] = (
    "reconciler_service_last_backup_timestamp_seconds", "gauge", "When the last good backup of a service was made.",
)  # fmt: skip

_ORIGIN_METRICS: tuple[tuple[str, _Type, str, Callable[[Origins], list[_Sample]]], ...] = (
    ("reconciler_origin_state", "gauge", "1 for the state an origin in git is in.",
     lambda origins: [("", {"origin": each["name"], "state": each["state"]}, 1) for each in origins]),
    ("reconciler_origin_last_success_timestamp_seconds", "gauge", "When the repository of an origin answered last.",
     lambda origins: [("", {"origin": o["name"]}, o["heard_at"]) for o in origins if o["heard_at"] is not None]),
    ("reconciler_origin_head_info", "gauge", "1 for the newest commit of an origin.", _commits("head")),
    ("reconciler_origin_in_force_info", "gauge", "1 for the commit of an origin that is in force.",
     _commits("in_force")),
    ("reconciler_origin_behind_commits", "gauge", "Commits of the newest one that are not in force.",
     _known("behind")),
    ("reconciler_origin_store_bytes", "gauge", "Size of what was fetched for an origin.", _known("store_bytes")),
    ("reconciler_origin_webhook_missed_commits", "gauge", "Commits found without the webhook since its last call.",
     lambda origins: [("", {"origin": o["name"]}, o["webhook"]["missed"]) for o in origins if o.get("webhook")]),
)  # fmt: skip

_DOMAIN_METRICS: tuple[tuple[str, _Type, str, Callable[[Origins], list[_Sample]]], ...] = (
    ("reconciler_domain_state", "gauge", "1 for the state a domain is in.",
     lambda domains: [("", {"domain": d["name"], "app": d["app"], "state": d["state"]}, 1) for d in domains]),
    ("reconciler_domain_certificate_expiry_timestamp_seconds", "gauge", "When the certificate of a domain expires.",
     lambda domains: [("", {"domain": d["name"], "app": d["app"]}, d["ends_at"]) for d in domains if d["ends_at"]]),
)  # fmt: skip

NAMES = frozenset(
    ["reconciler_up", _REFUSED_WEBHOOKS, _HOST_PRESSURE[0], _LAST_BACKUP[0]]
    + [row[0] for rows in (_DAEMON_METRICS, _APP_METRICS, _ORIGIN_METRICS, _DOMAIN_METRICS) for row in rows]
)
