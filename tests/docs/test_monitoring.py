"""What docs/monitoring watches for is told, and every alert fires when it should and not before."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.metrics.prometheus import NAMES
from tests.tools.promtool import promtool

MONITORING = Path(__file__).parents[2] / "docs/monitoring"


def _watched(content: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\breconciler_[a-z_]+", content)}


@pytest.mark.parametrize("file", ["dashboard.json", "alerts.yaml"])
def test_what_is_watched_for_is_told(file: str) -> None:
    watched = _watched((MONITORING / file).read_text())
    assert len(watched) > 5
    assert watched <= NAMES


def test_every_figure_is_explained_and_no_other() -> None:
    assert _watched((MONITORING.parent / "reference/metrics.md").read_text()) == NAMES


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    rules: Any = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    tests: Any = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())
    fires = [case["alertname"] for test in tests["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]]
    assert sorted(fires) == sorted(rule["alert"] for group in rules["groups"] for rule in group["rules"])


def test_the_alert_rules_are_well_formed_and_fire_when_they_should() -> None:
    promtool("check", "rules", "alerts.yaml", within=MONITORING)
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yaml", within=MONITORING)
