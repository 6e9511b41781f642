"""What is told to Prometheus: its format and its numbers."""

import asyncio
import json
import math
import re
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.convergence.world import Report
from reconciler.linux.listen_queues import Queue
from reconciler.linux.listening_paths import listen_at
from reconciler.linux.pressure import Stall
from reconciler.metrics.counters import Counters
from reconciler.metrics.instrumented_world import InstrumentedWorld, kind_of
from reconciler.metrics.prometheus import NAMES, refused_webhooks, text
from reconciler.metrics.rates import quantile, rate
from reconciler.metrics.sample import AppSample, addresses_of, queues_of
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Action, Reap, Start
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.plan import Plan
from reconciler.planning.subject import Subject
from reconciler.serving.gate_figures import BOUNDS_S, SPANS
from reconciler.serving.gate_figures_reader import Figures
from tests.world import a_trouble, an_app, an_instance, serving, stage_of

APP = an_app()
REVISION = APP.revision("c1")
START = Start(revision=REVISION, workers=1, failing=a_trouble(REVISION), cause="")
BUSY = Figures(
    classes=(0, 7, 0, 2, 1), buckets=(1, 2, 3, *[0] * (SPANS - 4), 4), seconds=1.5, in_flight=2, busy=1, workers=3
)
SAMPLE = AppSample(
    figures=BUSY, memory=4096, cpu={"i1": 0.25}, memory_limit=8192, waited={("i1", "memory"): 2.5, ("i1", "io"): 0.0}
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class OneApp:
    """A world where starting takes two seconds and comes to what `after` says, or raises."""

    def __init__(self, clock: Clock, after: Observed | Exception | None) -> None:
        self.clock, self.after = clock, after
        self.seen = serving(APP)

    def now(self) -> float:
        return self.clock()

    def plan(self, name: str, asked: App | None) -> Plan[Action]:
        raise NotImplementedError

    def when_failing(self, name: str) -> str:
        raise NotImplementedError

    def observe(self, name: str) -> Observed:
        return self.seen

    def report(self, name: str, report: Report) -> None: ...

    async def do(self, name: str, action: Action) -> None:
        self.clock.now += 2.0
        if isinstance(self.after, Exception):
            raise self.after
        if self.after is None:
            await asyncio.sleep(3600)
        else:
            self.seen = self.after


def told() -> dict[str, Any]:
    counters = Counters(Clock(), Counter({("blog", True): 3, ("blog", False): 1}), Counter({"blog-db": 2, "cache": 0}))
    counters.on_report(Subject("app", "blog"), Report(state="running", settled=True))
    counters.on_report(Subject("app", 'a"\\\nb'), Report(state="failing"))
    counters.on_report(Subject("service", "blog"), Report(state="ready", settled=True))
    counters.on_report(Subject("service", "cache"), Report(state="starting"))
    counters.acted("stage", "done", 3.0)
    counters.acted("stage", "failed", 9999.0)
    counters.staged("made")
    counters.handed_over(0.2)
    counters.died("blog")
    limits = [["blog", "memory", "exceeded", 1], ["blog/worker", "memory", "limited", 2]]
    figures = {**counters.as_json(), "limits": limits, "workers_wanted": {"blog": 4}, "workers_busy": {"blog": 0.71}}
    through_the_socket: dict[str, Any] = json.loads(json.dumps(figures))
    return through_the_socket


def samples(rendered: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(rendered)
        for sample in family.samples
    }


def value(rendered: str, name: str, **labels: str) -> float:
    return samples(rendered)[name, frozenset(labels.items())]


def test_all_of_it_is_in_prometheus_format_and_named_by_its_conventions() -> None:
    rendered = text(told(), {"blog": SAMPLE, 'a"\\\nb': SAMPLE}, {"blog-db": 1_700_000_000.0})
    rendered += refused_webhooks({"": 1, "fleet": 2})
    families = {family.name: family for family in text_string_to_metric_families(rendered)}
    assert {f"{name}_total" if family.type == "counter" else name for name, family in families.items()} == NAMES
    for name, family in families.items():
        assert family.documentation, name
        assert re.fullmatch(r"reconciler_[a-z_]+", name)
        assert family.type in {"counter", "gauge", "histogram"}, name
    assert len(samples(rendered)) == sum(len(family.samples) for family in families.values()), "a sample is told twice"


def test_a_name_full_of_quotes_backslashes_and_line_ends_stays_one_label() -> None:
    rendered = text(told(), {'a"\\\nb': SAMPLE}, {})
    assert value(rendered, "reconciler_app_workers", app='a"\\\nb') == 3
    assert value(rendered, "reconciler_app_state", app='a"\\\nb', state="failing") == 1


def test_buckets_grow_up_to_the_count_of_all() -> None:
    rendered = text(None, {"blog": SAMPLE}, {"blog-db": 1_700_000_000.0})
    name = "reconciler_app_request_duration_seconds"
    found = sorted(
        (math.inf if dict(labels)["le"] == "+Inf" else float(dict(labels)["le"]), count)
        for (sample, labels), count in samples(rendered).items()
        if sample == f"{name}_bucket"
    )
    assert [bound for bound, _ in found] == [*BOUNDS_S, math.inf]
    assert [count for _, count in found] == [1, 3, *[6] * (SPANS - 3), 10]
    assert value(rendered, f"{name}_count", app="blog") == 10
    assert value(rendered, f"{name}_sum", app="blog") == 1.5


def test_figures_of_apps_and_of_the_daemon_are_what_was_counted() -> None:
    rendered = text(told(), {"blog": SAMPLE}, {})
    assert value(rendered, "reconciler_up") == 1
    assert value(rendered, "reconciler_app_requests_total", app="blog", code="2xx") == 7
    assert value(rendered, "reconciler_app_requests_total", app="blog", code="5xx") == 1
    assert value(rendered, "reconciler_app_workers_busy", app="blog") == 1
    assert value(rendered, "reconciler_app_workers_wanted", app="blog") == 4
    assert value(rendered, "reconciler_app_workers_busy_ratio", app="blog") == 0.71
    assert value(rendered, "reconciler_app_cpu_seconds_total", app="blog", instance_id="i1") == 0.25
    assert value(rendered, "reconciler_apps", state="failing") == 1
    assert value(rendered, "reconciler_backlog_apps") == 1
    assert value(rendered, "reconciler_actions_total", action="stage", outcome="failed") == 1
    assert value(rendered, "reconciler_action_duration_seconds_bucket", action="stage", le="5.0") == 1
    assert value(rendered, "reconciler_action_duration_seconds_bucket", action="stage", le="+Inf") == 2
    assert value(rendered, "reconciler_staging_environments_total", environment="made") == 1
    assert value(rendered, "reconciler_app_restarts_total", app="blog") == 1
    assert value(rendered, "reconciler_app_probes_total", app="blog", result="failure") == 1


def test_limits_are_told_with_how_often_they_were_met_and_how_long_was_waited() -> None:
    rendered = text(told(), {"blog": SAMPLE}, {}, host={"cpu": Stall(share=0.5, seconds=7.5)})
    assert value(rendered, "reconciler_app_memory_limit_bytes", app="blog") == 8192
    assert value(
        rendered, "reconciler_app_pressure_seconds_total", app="blog", instance_id="i1", resource="memory"
    ) == 2.5  # fmt: skip
    assert value(rendered, "reconciler_host_pressure_seconds_total", resource="cpu") == 7.5
    name = "reconciler_app_limits_exceeded_total"
    assert value(rendered, name, app="blog", process="", limit="memory", kind="exceeded") == 1
    assert value(rendered, name, app="blog", process="worker", limit="memory", kind="limited") == 2


def test_services_have_metrics_of_their_own_and_no_metric_of_apps_counts_them() -> None:
    rendered = text(told(), {"blog": SAMPLE}, {})
    assert value(rendered, "reconciler_services", state="ready") == 1
    assert value(rendered, "reconciler_services", state="failing") == 0
    assert value(rendered, "reconciler_service_state", service="blog", state="ready") == 1
    assert value(rendered, "reconciler_app_state", app="blog", state="running") == 1
    assert value(rendered, "reconciler_backlog_services") == 1
    assert value(rendered, "reconciler_backlog_apps") == 1
    assert sum(count for (name, _), count in samples(rendered).items() if name == "reconciler_apps") == 2
    labelled = {(name, dict(labels).get("app")) for name, labels in samples(rendered)}
    assert {app for _, app in labelled} <= {None, "blog", 'a"\\\nb'}


def test_without_a_daemon_the_apps_are_told_all_the_same() -> None:
    rendered = text(None, {"blog": SAMPLE}, {"blog-db": 1_700_000_000.0})
    assert value(rendered, "reconciler_up") == 0
    assert value(rendered, "reconciler_app_requests_in_flight", app="blog") == 2
    assert value(rendered, "reconciler_service_last_backup_timestamp_seconds", service="blog-db") == 1_700_000_000
    assert "reconciler_backlog" not in rendered


def test_an_origin_is_told_by_its_state_its_commits_and_when_its_repository_answered() -> None:
    fleet = {"name": "fleet", "state": "returned", "heard_at": 1_700_000_000.5, "head": "b" * 40, "in_force": "a" * 40}
    fresh = {"name": "code", "state": "unreachable", "heard_at": None, "head": None, "in_force": None}
    rendered = text(None, {}, {}, [fleet, fresh])
    assert value(rendered, "reconciler_origin_state", origin="fleet", state="returned") == 1
    assert value(rendered, "reconciler_origin_state", origin="code", state="unreachable") == 1
    assert value(rendered, "reconciler_origin_last_success_timestamp_seconds", origin="fleet") == 1_700_000_000.5
    assert value(rendered, "reconciler_origin_head_info", origin="fleet", commit="b" * 40) == 1
    assert value(rendered, "reconciler_origin_in_force_info", origin="fleet", commit="a" * 40) == 1
    assert rendered.count('origin="code"') == 1, "what is not known is left out"


def test_failed_backups_are_counted_by_service() -> None:
    rendered = text(told(), {}, {})
    assert value(rendered, "reconciler_service_backup_failures_total", service="blog-db") == 2
    assert value(rendered, "reconciler_service_backup_failures_total", service="cache") == 0


def test_the_time_since_all_was_as_asked_runs_only_while_something_is_not() -> None:
    clock = Clock()
    counters = Counters(clock, Counter(), Counter())
    clock.now += 5
    assert counters.as_json()["unsettled_s"] == 5, "nothing was converged yet"
    counters.on_report(Subject("app", "blog"), Report(state="running", settled=True))
    clock.now += 60
    assert counters.as_json()["unsettled_s"] == 0
    counters.on_report(Subject("app", "shop"), Report(state="staging"))
    clock.now += 7
    assert (counters.as_json()["unsettled_s"], counters.as_json()["backlog"]) == (67, 1)
    counters.on_report(Subject("app", "shop"), None)
    assert (counters.as_json()["unsettled_s"], counters.as_json()["states"]) == (0, {"blog": "running"})


@pytest.mark.parametrize(
    ("before", "after", "outcome", "handovers"),
    [
        (serving(APP, instances=(an_instance(APP.revision("c0"), "i0"),)), serving(APP), "done", 1),
        (serving(APP, instances=()), serving(APP), "done", 0),
        (serving(APP, instances=()), serving(APP, instances=()), "failed", 0),
        (serving(APP, instances=()), RuntimeError("no"), "failed", 0),
        (serving(APP, instances=()), None, "given up", 0),
    ],
)
def test_each_action_is_counted_by_how_it_went(
    before: Observed, after: Observed | Exception | None, outcome: str, handovers: int
) -> None:
    clock = Clock()
    world, counters = OneApp(clock, after), Counters(clock, Counter(), Counter())
    world.seen = before

    async def story() -> None:
        doing = asyncio.create_task(InstrumentedWorld(world, counters, lambda *_: False).do("blog", START))
        await asyncio.sleep(0)
        if after is None:
            doing.cancel()
        await asyncio.wait((doing,))
        assert isinstance(after, Exception) == (not doing.cancelled() and doing.exception() is not None)

    asyncio.run(story())
    seen = counters.as_json()
    assert seen["actions"] == [["start", outcome, 1]]
    assert seen["durations"]["start"]["seconds"] == 2.0
    assert sum(seen["handover"]["buckets"]) == handovers


@pytest.mark.parametrize(("reused", "environment"), [(True, "reused"), (False, "made")])
def test_a_build_is_counted_by_where_its_environment_came_from(reused: bool, environment: str) -> None:
    clock = Clock()
    after = replace(serving(APP, instances=()), builds=(REVISION.build.id,))
    world, counters = OneApp(clock, after), Counters(clock, Counter(), Counter())
    stage = stage_of(REVISION.build, "")
    asyncio.run(InstrumentedWorld(world, counters, lambda *_: reused).do("blog", stage))
    assert counters.as_json()["environments"] == {environment: 1}


def test_only_an_instance_that_was_not_told_to_end_counts_as_a_restart() -> None:
    clock = Clock()
    world, counters = OneApp(clock, serving(APP)), Counters(clock, Counter(), Counter())
    measured = InstrumentedWorld(world, counters, lambda *_: False)
    asyncio.run(measured.do("blog", Reap(instance="i1", failure=None, cause="")))
    assert counters.as_json()["deaths"] == {}
    asyncio.run(measured.do("blog", Reap(instance="i2", failure=a_trouble(REVISION), cause="")))
    assert counters.as_json()["deaths"] == {"blog": 1}
    assert kind_of(START) == "start"


def test_rates_are_what_came_on_top_and_survive_a_counter_that_begins_anew() -> None:
    later = AppSample(figures=BUSY + BUSY, memory=8192, cpu={"i1": 1.25, "i2": 1.0})
    seen = rate(SAMPLE, later, 10.0)
    assert (seen.requests, seen.errors, seen.client_errors, seen.cpu, seen.memory) == (1.0, 0.1, 0.2, 0.2, 8192)
    anew = rate(later, SAMPLE, 10.0)
    assert (anew.requests, anew.cpu) == (1.0, 0.0)


def queued(length: int | None, *, answered: int = 0, waits: tuple[int, float] = (0, 0.0)) -> AppSample:
    """A sample of an app whose queue has this length, and of whose requests so many waited for so long in all."""
    figures = Figures(classes=(0, answered, 0, 0, 0), waits=(waits[0], *[0] * (SPANS - 1)), waited_s=waits[1])
    return AppSample(figures=figures, queue=None if length is None else Queue(length=length, limit=10))


@pytest.mark.parametrize(
    ("before", "now", "queue", "wait_s"),
    [
        (queued(None), queued(None, answered=5), None, None),
        (queued(0), queued(0, answered=5), 0, 0.0),
        (queued(0), queued(8, answered=5), 8, 0.0),
        (queued(4), queued(8, answered=20), 8, 2.0),
        (queued(4), queued(4), 4, 10.0),
        (queued(4), queued(4, answered=1), 4, 10.0),
        (queued(0, waits=(1, 1.0)), queued(0, answered=5, waits=(5, 3.0)), 0, 0.5),
        (queued(4, waits=(1, 1.0)), queued(4, answered=20, waits=(5, 3.0)), 4, 2.0),
    ],
)  # fmt: skip
def test_the_wait_is_what_workers_tell_or_what_the_queue_will_take(
    before: AppSample, now: AppSample, queue: int | None, wait_s: float | None
) -> None:
    seen = rate(before, now, 10.0)
    assert (seen.queue, seen.wait_s) == (queue, wait_s)


def test_the_queue_is_told_with_its_limit_and_how_long_requests_waited_in_it() -> None:
    rendered = text(None, {"blog": queued(3, answered=4, waits=(4, 0.5)), "shop": queued(None)}, {})
    assert value(rendered, "reconciler_app_queue", app="blog") == 3
    assert value(rendered, "reconciler_app_queue_limit", app="blog") == 10
    assert value(rendered, "reconciler_app_queue_wait_seconds_count", app="blog") == 4
    assert value(rendered, "reconciler_app_queue_wait_seconds_sum", app="blog") == 0.5
    assert 'reconciler_app_queue{app="shop"}' not in rendered, "what is not known is left out"


def test_an_app_without_an_instance_is_looked_for_where_its_manifest_says(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    urls = {"blog": "http://127.0.0.1:8001/", "wiki": "https://[::1]:8443/", "shop": f"unix:{path}", "batch": None}
    snapshot: Any = SimpleNamespace(instances={}, desired={"apps": {app: {"url": url} for app, url in urls.items()}})
    found = {app: addresses_of(snapshot, app) for app in (*urls, "unknown")}
    assert found == {
        "blog": {Address(host="127.0.0.1", port=8001)}, "wiki": {Address(host="::1", port=8443)},
        "shop": {Address(host=str(path))}, "batch": set(), "unknown": set(),
    }  # fmt: skip
    with closing(listen_at(path, 5)):
        assert queues_of(found)["shop"] == Queue(length=0, limit=5)


def test_a_quantile_lies_in_the_bucket_that_holds_it() -> None:
    assert quantile(0.5, [0] * SPANS) is None
    assert quantile(0.5, [2, *[0] * (SPANS - 1)]) == BOUNDS_S[0] / 2
    assert quantile(0.95, [0, 0, 10, *[0] * (SPANS - 3)]) == pytest.approx(0.0025 + 0.0025 * 0.95)
    assert quantile(0.5, [*[0] * (SPANS - 1), 3]) == BOUNDS_S[-1]
