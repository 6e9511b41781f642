"""What a cluster cannot run, or no longer runs: what served serves on, and it is told in the cluster's own words."""

from contextlib import ExitStack
from typing import Any

import pytest

from tests.cluster.grounds import Place
from tests.support.eventually import eventually
from tests.support.site import WSGI
from tests.tools.nodes import start_registry

pytestmark = pytest.mark.network

_QUICK: dict[str, Any] = {"health": {"path": "/", "start_timeout": "5s"}}
_DEADLINE_S = 5 + 60 + 30  # of a rollout with that start_timeout, and half a minute
# What is done to each app, and what is told of it.
_BAD = {
    "code": "CrashLoopBackOff",
    "health": "1 of 1 new, 1 ready: what is new was not ready within",
    "release": "no table today",
    "full": "Insufficient cpu",
    "large": "maximum memory usage per Container is 256Mi",
}


def spoil(place: Place, name: str) -> None:
    """Save what cannot run."""
    site = place.site
    bad = WSGI.replace("{version}", "2")
    if name == "code":
        site.save(site.root / "apps" / name / "wsgi.py", f"raise RuntimeError('cannot begin')\n{bad}")
    elif name == "health":
        site.save(site.root / "apps" / name / "wsgi.py", bad.replace("200 OK", "500 Broken"))
    elif name == "release":
        place.app(name, "2", **_QUICK, release="python -c 'raise SystemExit(\"no table today\")'")
    elif name == "full":
        place.app(name, "2", **_QUICK, limits={"cpu": 64})
    else:
        place.app(name, "2", **_QUICK, limits={"memory": "512M"})


def test_what_cannot_run_is_told_as_the_cluster_says_it_while_what_served_serves_on(place: Place) -> None:
    largest = {"limits": [{"type": "Container", "max": {"memory": "256Mi"}}]}
    place.kube.ask("POST", place.path("limitranges"), {"metadata": {"name": "small"}, "spec": largest})
    for name in _BAD:
        place.app(name, **_QUICK)
    place.site.start(*place.options())
    for name in _BAD:
        place.until("running", name, 420)

    def is_told(name: str) -> bool:
        said = " ".join(text for _, _, text in place.site.events(name)) + str(place.site.told(name)["message"])
        assert _BAD[name] in said, said
        return place.is_told("degraded", name)

    with ExitStack() as stack:
        loads = {name: stack.enter_context(place.under_load(name, clients=1)) for name in _BAD}
        for name in _BAD:
            spoil(place, name)
        for name in _BAD:
            eventually(lambda name=name: is_told(name), 2 * _DEADLINE_S)  # type: ignore[misc]
            print(f"{name}: {place.site.told(name)['message']}")
        for name in _BAD:
            assert place.answer(name) == "1"
            place.app(name, "3", **_QUICK)
        for name in _BAD:
            place.answers("3", name)
            place.until("running", name)
    assert {name: load.failed for name, load in loads.items()} == {name: {} for name in _BAD}


def test_an_image_that_no_node_can_pull_is_told_until_it_can(place: Place) -> None:
    engine = place.grounds.engine
    if engine is None:
        pytest.skip("the registry of another cluster is not ours to end")
    place.app("shop", **_QUICK)
    place.site.start(*place.options())
    place.until("running")
    with place.under_load() as load:
        for node in engine.machine.nodes:
            node.kill("docker-registry")
        place.site.source("shop", "2")
        eventually(lambda: "ImagePull" in place.site.told("shop")["message"], 120)
        print(place.site.told("shop")["message"])
        for node in engine.machine.nodes:
            start_registry(node, engine.programs, engine.directory / "storage", engine.registry)
        place.answers("2")
        place.until("running")
    assert not load.failed


def test_a_quota_that_is_used_up_is_told_until_it_is_raised(place: Place) -> None:
    place.app("shop", **_QUICK)
    place.site.start(*place.options())
    place.until("running")
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "1"}}}
    place.kube.ask("POST", place.path("resourcequotas"), quota)
    with place.under_load() as load:
        place.site.source("shop", "2")
        eventually(lambda: "exceeded quota" in place.site.told("shop")["message"], 2 * _DEADLINE_S)
        print(place.site.told("shop")["message"])
        place.kube.ask("DELETE", place.path("resourcequotas", "none"))
        place.site.source("shop", "3")
        place.answers("3")
        place.until("running")
    assert not load.failed
