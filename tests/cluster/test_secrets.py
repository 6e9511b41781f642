"""Secrets of an app in a cluster: the app has them, and nothing that is shown does."""

import json

import pytest

from tests.cluster.grounds import DEPLOYMENTS, Place
from tests.support.eventually import eventually

pytestmark = pytest.mark.network

_HIDDEN = "hush-4711-of-the-test"
_MOST = 1 << 20


def test_a_secret_is_in_the_app_and_in_nothing_that_is_shown(place: Place) -> None:
    site = place.site
    (site.root / "key").write_text(_HIDDEN)
    site.source("shop")
    place.manifest("shop", env={"KEY": {"file": "../key"}})
    site.start(*place.options())
    place.until("running")
    assert json.loads(place.answer("shop", path="/env"))["KEY"] == _HIDDEN

    manifests = ["--manifests", str(site.manifests)]
    digest = place.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
    shown = [
        site.cli("status", "--json"),
        site.cli("status"),
        site.cli("events", "shop"),
        site.cli("logs", "shop"),
        site.cli("export", "shop", "--image", digest, *manifests),
    ]
    assert all(_HIDDEN not in each.stdout + each.stderr for each in shown)
    assert _HIDDEN not in site.console.read_text()
    # What describes objects, all but Secrets themselves: those are not shown by it.
    for plural, group in (("pods", "api/v1"), ("deployments", DEPLOYMENTS), ("events", "api/v1")):
        assert _HIDDEN not in json.dumps(place.kube.ask("GET", place.path(plural, group=group)))

    # Another value is another revision, and one that no Secret holds is refused; what serves serves on.
    (site.root / "key").write_text("another")
    eventually(lambda: json.loads(place.answer("shop", path="/env"))["KEY"] == "another", 240)
    place.until("running")
    eventually(lambda: len(place.kube.names(place.path("pods"))) == 1, 60)  # none of before answers any more
    site.save(site.root / "list.env", "".join(f"A{each}={'x' * 30_000}\n" for each in range(_MOST // 30_000 + 1)))
    place.manifest("shop", env_files=["../list.env"])
    eventually(lambda: "1 MiB" in site.told("shop")["message"], 120)
    assert json.loads(place.answer("shop", path="/env"))["KEY"] == "another"
