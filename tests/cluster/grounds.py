"""Where apps of these tests are placed: a namespace of a cluster that runs pods, with a registry for its nodes."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.load import Load, ask, carried
from tests.support.namespaces import sockets_in
from tests.support.site import Site
from tests.tools.cluster import Cluster
from tests.tools.kube import Kube

MINOR = f"3.{sys.version_info[1]}"
DEPLOYMENTS = "apis/apps/v1"
_HEARD_S = 60.0
_STARTED_S = 240.0  # an image is pulled by a node on a busy machine


@dataclass(slots=True, kw_only=True)
class Grounds:
    """A cluster, and what is told of it in settings. `engine` is ours, None if the cluster is somebody's.

    Services are reached in the `network` of a process, 0 for this one's own.
    """

    kube: Kube
    registry: str
    plain_http: bool
    base: Path
    address: str
    network: int = 0
    engine: Cluster | None = None
    made: int = 0

    @property
    def inside(self) -> Callable[[], AbstractContextManager[None]]:
        """Where a thread makes its sockets to reach Services."""
        return partial(sockets_in, f"/proc/{self.network}/ns/net") if self.network else nullcontext


@dataclass(slots=True, kw_only=True)
class Place:
    """A namespace for one test, and the site of a daemon that places apps in it."""

    grounds: Grounds
    site: Site
    namespace: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def kube(self) -> Kube:
        return self.grounds.kube

    def options(self, config: Path | None = None, **cluster: Any) -> list[str]:
        """Write the settings; return what starts the daemon with them."""
        prod = {
            "kubeconfig": str(config or self.kube.config),
            "namespace": self.namespace,
            "registry": f"{self.grounds.registry}/{self.namespace}",
            "plain_http": self.grounds.plain_http,
            "bases": {f"python{MINOR}": str(self.grounds.base)},
            **cluster,
        }
        file = self.site.root / "host.yaml"
        retry = {"first": "200ms", "cap": "2s"}
        file.write_text(json.dumps({"clusters": {"prod": prod}, "retry": retry, **self.settings}))
        return ["--settings", str(file)]

    def app(self, name: str, version: str = "1", **fields: Any) -> None:
        """Write an app that is placed in the cluster."""
        self.site.source(name, version)
        self.manifest(name, **fields)

    def manifest(self, name: str, site: Site | None = None, **fields: Any) -> None:
        """Write its manifest alone, on another site if one is given."""
        known = {"place": "prod", "runtime": f"python{MINOR}", "probation": "0s"}
        (site or self.site).manifest(name, **{**known, **fields})

    def is_told(self, state: str, name: str = "shop") -> bool:
        assert self.site.daemons[-1].poll() is None, self.site.console.read_text()
        told = self.site.told(name)
        assert told["state"] == state, f"{told['state']}: {told['message']}"
        return True

    def until(self, state: str, name: str = "shop", within: float = _STARTED_S) -> str:
        """Wait until an app is in a state; return what is said of it."""
        eventually(lambda: self.is_told(state, name), within)
        return str(self.site.told(name)["message"])

    def path(self, plural: str, name: str = "", group: str = "api/v1") -> str:
        """The path of an object, or of all of a kind."""
        return f"/{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def get(self, plural: str, name: str, group: str = "api/v1") -> Any:
        return self.kube.ask("GET", self.path(plural, name, group))

    def deployment(self, name: str = "shop") -> Any:
        return self.get("deployments", name, DEPLOYMENTS)

    def pods(self, name: str = "shop") -> list[Any]:
        """The pods of an app that were not told to end."""
        found = self.kube.ask("GET", f"{self.path('pods')}?labelSelector=reconciler.dev/app={name}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def service(self, name: str = "shop") -> str:
        """The address of its Service."""
        return str(self.get("services", name)["spec"]["clusterIP"])

    def answer(self, name: str = "shop", path: str = "/") -> str:
        """What the app answers at its Service; what leads there may hear of its pods later than we do."""
        address = self.service(name)

        def answered() -> tuple[str | None]:
            with self.grounds.inside():
                outcome, body = ask(80, address, path)
            assert outcome == "ok", outcome
            return (body,)

        return str(*eventually(answered, _HEARD_S))

    def answers(self, version: str, name: str = "shop", within: float = _STARTED_S) -> None:
        """Wait until an app answers a version."""

        def is_so() -> bool:
            found = self.answer(name)
            assert found == version, found
            return True

        eventually(is_so, within)

    @contextmanager
    def under_load(self, name: str = "shop", clients: int = 4) -> Iterator[Load]:
        """Requests to the Service of an app without a pause; the figures are printed."""
        load = Load(port=80, host=self.service(name), inside=self.grounds.inside)
        with self.grounds.inside():  # what sends requests to pods hears of the first one a little later than we do
            eventually(lambda: load.one() == "ok", 60)
        load.failed_at.clear()
        with carried(load, clients):
            yield load
        print(f"{load.ok + sum(load.failed.values())} requests, failed: {load.failed}", *load.failed_at[:20], sep="\n")
