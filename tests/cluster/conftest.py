"""A cluster for all of these tests, which `make test-cluster` runs.

RECONCILER_TEST_CLUSTER is `engine` for one that scripts/engine builds and that is started here, or a kubeconfig. That
one needs RECONCILER_TEST_REGISTRY, HOST[:PORT][/PATH], to which images may be pushed, with http:// before it if it has
no TLS; RECONCILER_TEST_BASE, the layout of an image with this Python; and RECONCILER_TEST_ADDRESS, at which pods reach
this machine. Services have to be reachable from here, or in the network of the process RECONCILER_TEST_NETWORK, such as
a node in a container has. `python -m tests.tools.cluster` starts one for that.
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
        kube, registry = Kube(config=Path(_WHICH).resolve()), given["registry"]
        yield Grounds(
            kube=kube,
            registry=registry.removeprefix("http://").strip("/"),
            plain_http=registry.startswith("http://"),
            base=Path(given["base"]).resolve(),
            address=given["address"],
            network=int(os.environ.get("RECONCILER_TEST_NETWORK", "0")),
        )
        return
    if why := missing():
        pytest.skip(why)
    if engine("kube-scheduler", "kubelet", "kube-proxy") is None:
        pytest.skip("the engine is not built: scripts/engine")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the base of images has Debian's Python, 3.11")
    with cluster(tmp_path_factory.mktemp("engine")) as found:
        registry = f"127.0.0.1:{found.registry}"
        network = found.machine.hub.init
        yield Grounds(
            kube=found,
            registry=registry,
            plain_http=True,
            base=found.base,
            address=HUB,
            network=network,
            engine=found,
        )


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
