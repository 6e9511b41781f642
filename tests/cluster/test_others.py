"""What others do to objects of ours, and ours to those of others."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.grounds import DEPLOYMENTS, Place
from tests.support.eventually import eventually
from tests.support.site import Site
from tests.support.store import Store
from tests.tools.kube import MERGE

pytestmark = pytest.mark.network


@pytest.fixture
def other(tmp_path: Path, store: Store) -> Iterator[Site]:
    """Another installation."""
    with closing(Site.at(tmp_path / "other", store)) as other:
        yield other


def patch(place: Place, body: Any, plural: str = "deployments", group: str = DEPLOYMENTS) -> None:
    """Change an object as somebody does with kubectl."""
    place.kube.ask("PATCH", f"{place.path(plural, 'shop', group)}?fieldManager=kubectl-edit", body, MERGE)


def image(place: Place) -> str:
    (container,) = place.deployment()["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def is_gone(place: Place, plural: str, name: str, group: str = "api/v1") -> bool:
    return name not in place.kube.names(place.path(plural, group=group))


def test_what_others_change_is_changed_back_and_what_is_theirs_stays(place: Place) -> None:
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    pushed = image(place)

    patch(place, {"metadata": {"annotations": {"theirs": "1"}}, "spec": {"replicas": 3}})
    eventually(lambda: place.deployment()["spec"]["replicas"] == 1, 60)
    eventually(lambda: "kubectl-edit has changed spec.replicas" in place.site.cli("events", "shop").stdout, 60)

    containers = [{**place.deployment()["spec"]["template"]["spec"]["containers"][0], "image": "127.0.0.1:1/x:1"}]
    patch(place, {"spec": {"template": {"spec": {"containers": containers}}}})
    eventually(lambda: image(place) == pushed, 60)

    patch(place, {"metadata": {"labels": {"reconciler.dev/installation": None}}})
    eventually(lambda: "reconciler.dev/installation" in place.deployment()["metadata"]["labels"], 60)

    for plural, group in (("services", "api/v1"), ("deployments", DEPLOYMENTS)):
        before = place.get(plural, "shop", group)["metadata"]["uid"]
        place.kube.ask("DELETE", place.path(plural, "shop", group))
        eventually(
            lambda plural=plural, group=group, before=before: (  # type: ignore[misc]
                not is_gone(place, plural, "shop", group)
                and place.get(plural, "shop", group)["metadata"]["uid"] != before
            ),
            60,
        )
    place.answers("1")
    place.until("running")


def test_what_another_program_has_made_is_refused_and_left(place: Place) -> None:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "127.0.0.1:1/x:1"}]}}
    theirs = {"metadata": {"name": "shop"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod}}
    place.kube.ask("POST", f"{place.path('deployments', group=DEPLOYMENTS)}?fieldManager=helm", theirs)
    before = place.deployment()["spec"]
    place.app("shop")
    place.site.start(*place.options())
    eventually(lambda: "Deployment shop exists, and was made by helm" in place.site.told("shop")["message"], 120)
    (place.site.manifests / "shop.yaml").unlink()
    eventually(lambda: not place.site.status()["apps"], 60)
    assert place.deployment()["spec"] == before


def test_two_installations_in_a_namespace_leave_each_other_alone(place: Place, other: Site) -> None:
    place.app("shop")
    place.site.start(*place.options())
    place.until("running")
    settings = json.loads((place.site.root / "host.yaml").read_text())
    (other.root / "host.yaml").write_text(json.dumps(settings))
    for name in ("shop", "blog"):
        other.source(name, "theirs")
        place.manifest(name, other)
    other.start("--settings", str(other.root / "host.yaml"))
    eventually(lambda: "Deployment shop exists" in other.told("shop")["message"], 120)
    eventually(lambda: other.told("blog")["state"] == "running", 240)
    assert (place.answer("shop"), place.answer("blog")) == ("1", "theirs")
    # The end of one is not the end of the other.
    (other.manifests / "blog.yaml").unlink()
    (other.manifests / "shop.yaml").unlink()
    eventually(lambda: not other.status()["apps"], 60)
    eventually(lambda: is_gone(place, "services", "blog"), 60)
    assert place.answer("shop") == "1"


def test_manifests_that_are_away_or_unreadable_delete_nothing_and_one_that_is_removed_its_own(place: Place) -> None:
    secret = {"metadata": {"name": "theirs", "labels": {"a": "b"}}}
    place.kube.ask("POST", place.path("secrets"), secret)
    names = ("shop", "blog", "wiki")
    for name in names:
        place.app(name)
    site = place.site
    site.start(*place.options())
    for name in names:
        place.until("running", name)
    made = place.kube.names(place.path("deployments", group=DEPLOYMENTS))
    assert made == sorted(names)

    away = site.root / "away"
    site.manifests.rename(away)
    eventually(lambda: any(kind == "" or "manifests" in text for kind, _, text in site.events()), 60)
    away.rename(site.manifests)
    site.save(site.manifests / "shop.yaml", "{")
    eventually(lambda: site.refusals("shop.yaml"), 60)
    assert place.kube.names(place.path("deployments", group=DEPLOYMENTS)) == made
    assert [place.answer(name) for name in names] == ["1", "1", "1"]
    place.manifest("shop")
    place.until("running")

    (site.manifests / "wiki.yaml").unlink()
    eventually(lambda: is_gone(place, "deployments", "wiki", DEPLOYMENTS), 60)
    eventually(lambda: is_gone(place, "services", "wiki"), 60)
    assert place.kube.names(place.path("deployments", group=DEPLOYMENTS)) == ["blog", "shop"]
    assert "theirs" in place.kube.names(place.path("secrets"))
    shutil.rmtree(away, ignore_errors=True)
