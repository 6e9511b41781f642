"""Rollouts in a cluster that runs pods: nothing is refused while the old gives way to the new."""

import os
import signal
from typing import Any

import pytest

from tests.cluster.grounds import DEPLOYMENTS, Place
from tests.support.eventually import eventually
from tests.tools.kube import MERGE

pytestmark = pytest.mark.network

_EDITS = 20


def edit(place: Place, version: str) -> None:
    """Save another version, and return once it is applied, though not rolled out."""
    before = place.deployment()["metadata"]["generation"]
    place.site.source("shop", version)
    eventually(lambda: place.deployment()["metadata"]["generation"] > before, 120)


def test_an_app_answers_in_a_cluster_by_its_place_and_is_gone_with_its_manifest(place: Place) -> None:
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    place.answers("1")
    (place.site.manifests / "shop.yaml").unlink()
    eventually(lambda: not place.site.status()["apps"], 60)
    eventually(lambda: place.kube.names(place.path("services")) == [], 60)
    eventually(lambda: place.kube.names(place.path("pods")) == [], 120)


def test_no_request_fails_in_twenty_edits_without_a_pause(place: Place) -> None:
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    with place.under_load() as load:
        for version in range(2, _EDITS + 2):
            edit(place, str(version))
        place.answers(str(_EDITS + 1))
        place.until("running")
        load.await_more(100)
    assert not load.failed
    assert place.answer() == str(_EDITS + 1)


def test_requests_fail_in_rollouts_without_a_drain(place: Place) -> None:
    """What is shown above is shown by the pause before a pod ends: without it there are failures."""
    place.app("shop")
    place.site.start(*place.options(drain="0s"))
    place.until("running")
    with place.under_load(clients=8) as load:
        for version in range(2, _EDITS + 2):
            edit(place, str(version))
            place.answers(str(version))
            place.until("running")
            if load.failed:
                break
    assert load.failed


def test_requests_fail_where_the_old_pod_may_end_before_the_new_one_is_ready(place: Place) -> None:
    """And by what no rollout of ours allows: a pod that goes first. No daemon is there to change it back."""
    place.app("shop")
    daemon = place.site.start(*place.options())
    place.until("running")
    place.site.end(daemon)
    eager: Any = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    template = {"metadata": {"annotations": {"again": "1"}}}
    with place.under_load() as load:
        spec = {"strategy": eager, "template": template}
        place.kube.ask("PATCH", place.path("deployments", "shop", DEPLOYMENTS), {"spec": spec}, MERGE)
        eventually(lambda: load.failed, 120)
        place.answers("1")
    assert load.failed


def test_a_daemon_that_is_killed_in_the_middle_of_rollouts_goes_on_where_it_was(place: Place) -> None:
    release = "python -c 'print(1)'"
    place.app("shop", release=release)
    daemon = place.site.start(*place.options())
    place.until("running")
    with place.under_load() as load:
        for count in range(2, 10):
            before = len(place.site.events("shop"))
            place.site.source("shop", str(count))
            # Later each time: at the source, the build, the image, the release, the Deployment, …
            eventually(lambda before=before, count=count: len(place.site.events("shop")) >= before + count - 1, 60)  # type: ignore[misc]
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait(30)
            daemon = place.site.start(*place.options())
        place.answers("9")
        place.until("running")
    assert not load.failed

    # The release of what serves has run once, and nothing is left of those before.
    def is_tidy() -> bool:
        jobs = place.kube.ask("GET", place.path("jobs", group="apis/batch/v1"))["items"]
        assert not any(job["status"].get("failed") for job in jobs)
        assert [job["status"].get("succeeded") for job in jobs] == [1], [job["metadata"]["name"] for job in jobs]
        running = [pod for pod in place.pods() if pod["status"]["phase"] == "Running"]
        assert len(running) == 1
        return True

    eventually(is_tidy, 120)
