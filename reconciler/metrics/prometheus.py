"""The host's figures as Prometheus' text format, version 0.0.4."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from reconciler.control.socket import Refused, ask
from reconciler.metrics import counters, sample
from reconciler.metrics.sample import AppSample
from reconciler.planning.states import APP_STATES
from reconciler.serving.gate_figures import BOUNDS_S
from reconciler.state.paths import StatePaths

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

Apps = Mapping[str, AppSample]
_Type = Literal["counter", "gauge", "histogram"]
_Sample = tuple[str, Mapping[str, str], float]


def render(paths: StatePaths) -> str:
    """All that is known of a host, without its daemon's own figures while none runs; raises sqlite3.Error. Blocks."""
    daemon: dict[str, Any] | None = None
    with contextlib.suppress(OSError, Refused, ValueError):
        daemon = ask(paths.control, {"do": "metrics"})
    return text(daemon, sample.of_host(paths))


def text(daemon: Mapping[str, Any] | None, apps: Apps) -> str:
    """What a daemon told of itself, None when there is none, and what was seen of its apps."""
    families = [_family("reconciler_up", "gauge", "Whether the daemon answers.", [("", {}, float(daemon is not None))])]
    if daemon is not None:
        families += [_family(name, kind, told, samples(daemon)) for name, kind, told, samples in _OF_THE_DAEMON]
    families += [_family(name, kind, told, samples(apps)) for name, kind, told, samples in _OF_APPS]
    return "".join(line for family in families for line in family)


def _family(name: str, kind: _Type, told: str, samples: Sequence[_Sample]) -> list[str]:
    head = [f"# HELP {name} {told}\n", f"# TYPE {name} {kind}\n"]
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
    """`buckets` counts what took up to each bound and more than the one before, and what took longer than any."""
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


def _states(daemon: Mapping[str, Any]) -> list[_Sample]:
    states = list(daemon["states"].values())
    return [("", {"state": state.name}, states.count(state.name)) for state in APP_STATES]


def _probes(daemon: Mapping[str, Any]) -> list[_Sample]:
    return [("", {"app": app, "result": "success" if well else "failure"}, n) for app, well, n in daemon["probes"]]


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


def _cpu(apps: Apps) -> list[_Sample]:
    return [
        ("", {"app": n, "instance_id": id_}, seconds) for n, app in apps.items() for id_, seconds in app.cpu.items()
    ]


_OF_THE_DAEMON: tuple[tuple[str, _Type, str, Callable[[Mapping[str, Any]], list[_Sample]]], ...] = (
    ("reconciler_apps", "gauge", "Apps by state.", _states),
    ("reconciler_app_state", "gauge", "1 for the state an app is in.", lambda daemon: [
        ("", {"app": app, "state": state}, 1) for app, state in sorted(daemon["states"].items())
    ]),
    ("reconciler_backlog_apps", "gauge", "Apps with something left to do.", _one("backlog")),
    ("reconciler_unconverged_seconds", "gauge", "Time since every app was as asked, 0 while all are.",
     _one("unsettled_s")),
    ("reconciler_actions_total", "counter", "Actions by kind and outcome: done, failed, or given up for another.",
     _actions),
    ("reconciler_action_duration_seconds", "histogram", "How long actions took, whatever came of them.", _durations),
    ("reconciler_staging_environments_total", "counter", "Builds by whether their environment was made or reused.",
     lambda daemon: [("", {"environment": e}, daemon["environments"].get(e, 0)) for e in ("made", "reused")]),
    ("reconciler_handover_duration_seconds", "histogram", "From the start of a successor until all of it serves.",
     _handover),
    ("reconciler_app_restarts_total", "counter", "Instances that ended without being told to.",
     lambda daemon: [("", {"app": app}, daemon["deaths"].get(app, 0)) for app in sorted(daemon["states"])]),
    ("reconciler_app_probes_total", "counter", "Questions for an app's health path by result.", _probes),
)  # fmt: skip

_OF_APPS: tuple[tuple[str, _Type, str, Callable[[Apps], list[_Sample]]], ...] = (
    ("reconciler_app_requests_total", "counter", "Requests answered by class of status.", _requests),
    ("reconciler_app_request_duration_seconds", "histogram", "From a request's head to its answer's last byte.",
     _latencies),
    ("reconciler_app_requests_in_flight", "gauge", "Requests being worked on.", _each(lambda a: a.figures.in_flight)),
    ("reconciler_app_workers", "gauge", "Workers that accept requests.", _each(lambda a: a.figures.workers)),
    ("reconciler_app_workers_busy", "gauge", "Workers with a request in flight.", _each(lambda a: a.figures.busy)),
    ("reconciler_app_memory_bytes", "gauge", "Memory of an app's processes, shared pages in part.",
     _each(lambda a: a.memory)),
    ("reconciler_app_cpu_seconds_total", "counter", "Processor time of an app's processes by instance.", _cpu),
)  # fmt: skip

NAMES = frozenset({"reconciler_up", *(row[0] for row in _OF_THE_DAEMON), *(row[0] for row in _OF_APPS)})
