"""The figures of an origin in git, as Prometheus is told them."""

import json

from prometheus_client.parser import text_string_to_metric_families

from reconciler.metrics.origin_figures import OriginFigures
from reconciler.metrics.prometheus import text
from tests.unit.metrics.test_prometheus import told

FACTS = {
    "name": "fleet", "state": "current", "heard_at": 1.0, "head": "b" * 40, "in_force": "a" * 40,
    "behind": 3, "store_bytes": 4096, "webhook": {"called_at": 1.0, "missed": 2, "doubt": ""},
}  # fmt: skip
UNKNOWN = {
    **FACTS,
    "name": "code",
    "head": None,
    "in_force": None,
    "behind": None,
    "store_bytes": None,
    "webhook": None,
}
BEFORE = {key: value for key, value in UNKNOWN.items() if key not in {"behind", "store_bytes", "webhook"}}


def samples(figures: dict[str, OriginFigures], *origins: dict[str, object]) -> dict[tuple[str, str], float]:
    daemon = {**told(), "origins": json.loads(json.dumps({name: each.as_json() for name, each in figures.items()}))}
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text(daemon, {}, {}, origins))
        if family.name.startswith("reconciler_origin")
        for sample in family.samples
    }


def test_fetches_refusals_and_calls_are_counted_by_why() -> None:
    figures = OriginFigures()
    figures.fetched(0.02, "")
    figures.fetched(0.02, "time-out")
    figures.fetched(400.0, "time-out")
    figures.refused("rewound")
    figures.called()
    found = samples({"fleet": figures})
    assert found["reconciler_origin_fetch_failures_total", "fleet,time-out"] == 2
    assert found["reconciler_origin_refused_total", "fleet,rewound"] == 1
    assert found["reconciler_origin_webhooks_total", "fleet"] == 1
    assert found["reconciler_origin_fetch_duration_seconds_count", "fleet"] == 3
    assert found["reconciler_origin_fetch_duration_seconds_bucket", "fleet,0.05"] == 2
    assert found["reconciler_origin_fetch_duration_seconds_sum", "fleet"] == 400.04


def test_the_hosts_of_a_fleet_are_counted_by_how_they_are() -> None:
    origins = {
        "fleet": {**OriginFigures().as_json(), "hosts": {"silent": 1, "well": 3}},
        "code": OriginFigures().as_json(),
    }
    found = {
        (sample.labels["origin"], sample.labels["state"]): sample.value
        for family in text_string_to_metric_families(text({**told(), "origins": origins}, {}, {}, ()))
        for sample in family.samples
        if sample.name == "reconciler_origin_hosts"
    }
    assert found == {("fleet", "silent"): 1, ("fleet", "well"): 3}


def test_what_is_not_known_of_an_origin_is_not_told() -> None:
    found = samples({}, FACTS, UNKNOWN, BEFORE)
    assert found["reconciler_origin_behind_commits", "fleet"] == 3
    assert found["reconciler_origin_store_bytes", "fleet"] == 4096
    assert found["reconciler_origin_webhook_missed_commits", "fleet"] == 2
    assert {name for name, labels in found if labels == "code"} == {"reconciler_origin_last_success_timestamp_seconds"}


def test_a_daemon_of_before_has_no_figures_of_origins() -> None:
    assert "reconciler_origin" not in "".join(
        line for line in text(told(), {}, {}).splitlines() if not line.startswith("#")
    )
