"""A cluster for all of these tests, which `make test-cluster` runs.

RECONCILER_TEST_CLUSTER is `engine` for one that scripts/engine builds and that is started here, or a kubeconfig. That
one needs RECONCILER_TEST_REGISTRY, HOST[:PORT]/PATH, to which images may be pushed; RECONCILER_TEST_BASE, the layout of
an image with this Python; and RECONCILER_TEST_ADDRESS, at which pods reach this machine. Services have to be reachable
from here.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.cluster.grounds import Grounds, Place
from tests.support.site import Site
from tests.tools.cluster import cluster
from tests.tools.engine import engine
from tests.tools.kube import Kube
from tests.tools.machine import HUB, missing

_WHICH = os.environ.get("RECONCILER_TEST_CLUSTER", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and not _WHICH:
            item.add_marker(pytest.mark.skip(reason="needs a cluster: make test-cluster"))


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    if _WHICH != "engine":
        given = {name: os.environ[f"RECONCILER_TEST_{name.upper()}"] for name in ("registry", "base", "address")}
        kube = Kube(config=Path(_WHICH).resolve())
        yield Grounds(kube=kube, registry=given["registry"], base=Path(given["base"]), address=given["address"])
        return
    if why := missing():
        pytest.skip(why)
    if engine("kube-scheduler", "kubelet", "kube-proxy") is None:
        pytest.skip("the engine is not built: scripts/engine")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the base of images has Debian's Python, 3.11")
    with cluster(tmp_path_factory.mktemp("engine")) as found:
        registry = f"127.0.0.1:{found.registry}"
        yield Grounds(kube=found, registry=registry, base=found.base, address=HUB, engine=found)


@pytest.fixture
def place(grounds: Grounds, site: Site) -> Iterator[Place]:
    grounds.made += 1
    namespace = f"reconciler-{os.getpid()}-{grounds.made}"
    grounds.kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    place = Place(grounds=grounds, site=site, namespace=namespace)
    yield place
    site.close()
    with suppress(HTTPError):
        grounds.kube.ask("DELETE", f"/api/v1/namespaces/{namespace}")
