"""An app in a real control plane: server-side apply, owners of fields, watches and garbage collection as they are."""

import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.placed import placed
from tests.support.registries import scripted_registry
from tests.support.site import Site
from tests.tools.engine import PROGRAMS, Engine, control_plane, engine

pytestmark = [
    pytest.mark.system,
    pytest.mark.nightly,
    pytest.mark.skipif(
        engine() is None,
        reason=f"no directory in RECONCILER_ENGINE has {', '.join(PROGRAMS)}: scripts/engine builds them",
    ),
]
_WEB = "/apis/apps/v1/namespaces/web/deployments"
_MERGE = "application/merge-patch+json"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Engine]:
    with control_plane(tmp_path / "engine") as plane:
        plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "web"}})
        yield plane


def test_an_app_is_rolled_out_kept_as_desired_and_taken_out_by_a_real_api_server(site: Site, plane: Engine) -> None:
    def running() -> bool:
        plane.make_ready()
        told = site.told("shop")
        assert told["state"] == "running", f"{told['state']}: {told['message']}"
        return True

    def deployment() -> Any:
        return plane.ask("GET", f"{_WEB}/shop")

    def told(text: str) -> Callable[[], bool]:
        return lambda: text in site.cli("events", "shop").stdout

    theirs = {"metadata": {"name": "theirs"}, "spec": {"ports": [{"port": 80}]}}
    plane.ask("POST", "/api/v1/namespaces/web/services", theirs)
    with scripted_registry() as registry:
        site.start(*placed(site, plane.config, registry))
        eventually(running, 90)
        before = deployment()
        managers = {each["manager"] for each in before["metadata"]["managedFields"]}
        assert f"reconciler/{site.state_id()}" in managers

        # Another revision is rolled out; the pods of the one before are there until the new ones are ready.
        site.source("shop", "2")
        eventually(lambda: deployment()["metadata"]["generation"] > before["metadata"]["generation"], 60)
        eventually(lambda: "of 1 new" in site.told("shop")["message"], 30)
        assert deployment()["status"]["availableReplicas"] == 1
        eventually(running, 60)

        # A field of ours is changed back, and one that is not stays.
        changed = {"metadata": {"annotations": {"theirs": "1"}}, "spec": {"replicas": 3}}
        plane.ask("PATCH", f"{_WEB}/shop?fieldManager=kubectl-edit", changed, _MERGE)
        eventually(lambda: deployment()["spec"]["replicas"] == 1, 30)
        assert deployment()["metadata"]["annotations"]["theirs"] == "1"
        eventually(told("kubectl-edit has changed spec.replicas"), 30)
        eventually(running, 60)

        # Our label is taken away: the object is still ours, by whose fields it has.
        stripped = {"metadata": {"labels": {"reconciler.dev/installation": None}}}
        plane.ask("PATCH", f"{_WEB}/shop?fieldManager=kubectl-edit", stripped, _MERGE)
        eventually(lambda: "reconciler.dev/installation" in deployment()["metadata"]["labels"], 30)
        eventually(running, 60)

        (site.manifests / "shop.yaml").unlink()
        eventually(lambda: plane.names("/api/v1/namespaces/web/services") == ["theirs"], 30)
        eventually(lambda: plane.names(_WEB) == [] and not site.status()["apps"], 30)
        eventually(lambda: plane.names("/api/v1/namespaces/web/pods") == [], 30)


def test_an_object_that_another_program_made_is_left_as_it_is(site: Site, plane: Engine) -> None:
    container = {"name": "c", "image": "nginx"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    theirs = {"metadata": {"name": "shop"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    plane.ask("POST", f"{_WEB}?fieldManager=helm", theirs)
    before = plane.ask("GET", f"{_WEB}/shop")["spec"]

    def refused() -> bool:
        return "Deployment shop exists, and was made by helm" in site.told("shop")["message"]

    with scripted_registry() as registry:
        site.start(*placed(site, plane.config, registry))
        eventually(refused, 90)
        assert plane.ask("GET", f"{_WEB}/shop")["spec"] == before
        (site.manifests / "shop.yaml").unlink()
        eventually(lambda: not site.status()["apps"], 30)
        assert plane.ask("GET", f"{_WEB}/shop")["spec"] == before
        with pytest.raises(urllib.error.HTTPError):
            plane.ask("GET", "/api/v1/namespaces/web/services/shop")
