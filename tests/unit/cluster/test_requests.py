"""What operators ask of one process of an app in a cluster changes the Deployment of that process, and no other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.cluster.ownership import RESTARTED
from reconciler.cluster.requests import as_requested, with_request
from reconciler.planning.apps.app import App
from tests.support.exported import app_of, objects

FIELDS = {"processes": {"worker": {"command": "python w.py", "count": 3}, "beat": "python b.py"}, "release": "true"}


@pytest.fixture
def app() -> App:
    return app_of(FIELDS)


def requested(app: App, noted: Mapping[str, Any], name: str, kind: str, now: str = "t1") -> dict[str, Any]:
    (process,) = (each for each in app.processes if each.name == name)
    return {**noted, "processes": with_request(noted, process, kind, now)}


def made(app: App, noted: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """The replicas of each Deployment, and since when its pods are to be."""
    found = {}
    for name, each in objects(FIELDS).items():
        asked = as_requested(each, app, noted)
        if each["kind"] != "Deployment":
            assert asked == each
            continue
        given = asked["spec"]["template"]["metadata"].get("annotations", {})
        found[name.removeprefix("Deployment/")] = asked["spec"]["replicas"], given.get(RESTARTED, "")
    return found


def test_an_app_of_which_nothing_is_asked_is_as_its_manifest_says(app: App) -> None:
    assert made(app, {}) == {"shop": (1, ""), "shop-worker": (3, ""), "shop-beat": (1, "")}


def test_a_restart_of_a_process_replaces_its_pods_alone_and_one_of_the_app_all(app: App) -> None:
    noted = requested(app, {}, "worker", "restart", "t1")
    assert made(app, noted) == {"shop": (1, ""), "shop-worker": (3, "t1"), "shop-beat": (1, "")}
    noted["restarted"] = "t2"
    assert made(app, noted) == {"shop": (1, "t2"), "shop-worker": (3, "t2"), "shop-beat": (1, "t2")}
    noted = requested(app, noted, "beat", "restart", "t3")
    assert made(app, noted) == {"shop": (1, "t2"), "shop-worker": (3, "t2"), "shop-beat": (1, "t3")}


def test_a_process_that_is_stopped_has_no_pods_until_it_is_started(app: App) -> None:
    noted = requested(app, {}, "worker", "stop")
    assert made(app, noted) == {"shop": (1, ""), "shop-worker": (0, ""), "shop-beat": (1, "")}
    assert made(app, requested(app, noted, "worker", "restart", "t2"))["shop-worker"] == (0, "t2")
    assert made(app, requested(app, noted, "worker", "start"))["shop-worker"] == (3, "")


def test_a_process_that_is_stopped_has_pods_once_its_manifest_says_something_else_of_it(app: App) -> None:
    noted = requested(app, {}, "worker", "stop")
    edited = tuple(replace(each, count=2) if each.name == "worker" else each for each in app.processes)
    assert made(replace(app, processes=edited), noted)["shop-worker"] == (3, "")
    others = tuple(replace(each, count=2) if each.name == "beat" else each for each in app.processes)
    assert made(replace(app, processes=others), noted)["shop-worker"] == (0, "")
    assert made(replace(app, processes=()), noted)["shop-worker"] == (3, "")
