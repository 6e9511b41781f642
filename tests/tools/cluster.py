"""A whole Kubernetes in a machine of its own: etcd, API server, controllers, scheduler and nodes with real kubelets.

usage: python -m tests.tools.cluster DIRECTORY

runs one until it is interrupted, and prints how the tests of clusters are run against it as against anybody's.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.images import image_of_tree
from tests.support.ports import a_port
from tests.tools.engine import TOKEN, Engine, engine, trusting
from tests.tools.machine import HUB, Machine, Space, machine
from tests.tools.nodes import start_kubelet, start_node, start_proxy, start_registry
from tests.tools.registry import tools
from tests.tools.relay import relayed

_PORT = 6443
USER_TOKEN = "of-the-daemon"
_SERVICES = "10.96.0.0/16"
_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster(Engine):
    """An engine whose nodes run pods. `registry` is the port of its registry, here and on each node."""

    machine: Machine
    programs: Path
    registry: int
    base: Path

    @property
    def _inside(self) -> Path:
        """The kubeconfig of what runs in the machine."""
        return self.directory / "inside" / "kubeconfig"

    def start_api_server(self) -> None:
        """Start what `kill_api_server` has killed."""
        _start_api_server(self.machine, self.programs)

    def kill_api_server(self) -> None:
        """Kill the API server; nodes and pods live on."""
        self.machine.hub.kill("kube-apiserver")

    def kill_controllers(self) -> None:
        """Kill what follows the API server; where one of several leads, it ends when it cannot say so any more."""
        for name in _CONTROLLERS:
            self.machine.hub.kill(name)

    def start_controllers(self) -> None:
        """Start what `kill_controllers` has killed."""
        _start_controllers(self.machine.hub, self.programs, self._inside)

    def start_kubelets(self) -> None:
        """Start the kubelet of each node, which was killed."""
        for number in range(len(self.machine.nodes)):
            start_kubelet(self.machine, number, self._inside)

    def kill_store(self) -> None:
        """Kill etcd, and with it what keeps the API server's state in memory."""
        self.kill_api_server()
        self.machine.hub.kill("etcd")

    def start_store(self) -> None:
        """Start both again, with what is in the directory of etcd; what follows the API server begins anew, too."""
        spaces = (self.machine.hub, *self.machine.nodes)
        for space in spaces:
            for name in (*_CONTROLLERS, "kubelet", "kube-proxy"):
                space.kill(name)
        _start_etcd(self.machine, self.programs)
        self.start_api_server()
        eventually(lambda: self.ask("GET", "/readyz") == "ok", 120)
        self.start_controllers()
        self.start_kubelets()
        for space, number in zip(spaces, (0, *range(len(self.machine.nodes))), strict=True):
            start_proxy(space, self.machine, self._inside, number)

    def config_of_user(self, directory: Path) -> Path:
        """Write the kubeconfig of a user `daemon` who has no rights but those that are bound to that name."""
        found = directory / "kubeconfig"
        found.write_text(self.config.read_text().replace(TOKEN, USER_TOKEN))
        return found

    def nodes_ready(self) -> bool:
        """Whether every node says that it is ready."""
        found = self.ask("GET", "/api/v1/nodes")["items"]
        ready = [
            each["metadata"]["name"]
            for each in found
            if any(one["type"] == "Ready" and one["status"] == "True" for one in each["status"].get("conditions", ()))
        ]
        assert len(ready) == len(self.machine.nodes), found
        return True


@contextmanager
def cluster(directory: Path, nodes: int = 2) -> Iterator[Cluster]:
    """Run a whole cluster; it is gone with the context, and with this process."""
    programs = engine("kube-scheduler", "kubelet", "kube-proxy")
    assert programs is not None
    with machine(directory, programs, nodes) as made, ExitStack() as stack:
        hub, port = made.hub, a_port()
        hub.run("ip", "route", "add", _SERVICES, "via", made.address(0))
        _start_etcd(made, programs)
        accounts = made.directory / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(accounts), "2048"], check=True, capture_output=True)
        tokens = f'{TOKEN},admin,admin,"system:masters"\n{USER_TOKEN},daemon,daemon\n'
        (made.directory / "tokens.csv").write_text(tokens)
        _start_api_server(made, programs)
        certificate = made.directory / "pki" / "apiserver.crt"
        eventually(certificate.exists, 120)
        at, to = ("self", "127.0.0.1", port), (str(hub.init), "127.0.0.1", _PORT)
        stack.enter_context(relayed(at, to, hub.directory / "relay.log"))
        config = trusting(made.directory, f"https://localhost:{port}", certificate)
        (made.directory / "inside").mkdir()
        inside = trusting(made.directory / "inside", f"https://{HUB}:{_PORT}", certificate)
        registry, base = a_port(), made.directory / "base"
        found = Cluster(
            directory=made.directory, config=config, machine=made, programs=programs, registry=registry, base=base
        )
        eventually(lambda: found.ask("GET", "/readyz") == "ok", 120)
        _start_controllers(hub, programs, inside)
        start_registry(_here(made), programs, made.directory / "storage", registry)
        image_of_tree(base, programs / "base", {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]})
        pause = _pushed_pause(made, registry)
        for number in range(nodes):
            start_node(made, number, inside, made.directory / "storage", registry, pause)
        # Requests of tests come from the hub, as from a node: what changes their source would use ports again too soon.
        start_proxy(hub, made, inside, 0)
        eventually(found.nodes_ready, 180)
        yield found


def _here(made: Machine) -> Space:
    """This machine's own network, with logs where those of the hub are."""
    return replace(made.hub, name="here", init=0)


def _start_etcd(made: Machine, programs: Path) -> None:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    made.hub.start(
        "etcd",
        [
            programs / "etcd", f"--data-dir={made.directory / 'etcd'}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-cluster=default={peer}",
            f"--initial-advertise-peer-urls={peer}", "--unsafe-no-fsync",
        ],
    )  # fmt: skip


def _start_api_server(made: Machine, programs: Path) -> None:
    top, key = made.directory, made.directory / "accounts.key"
    made.hub.start(
        "kube-apiserver",
        [
            programs / "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--secure-port={_PORT}",
            "--bind-address=0.0.0.0", f"--advertise-address={HUB}", f"--cert-dir={top / 'pki'}",
            f"--token-auth-file={top / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://localhost", f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}", "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount", f"--service-cluster-ip-range={_SERVICES}",
            "--kubelet-preferred-address-types=InternalIP", "--default-unreachable-toleration-seconds=15",
            "--default-not-ready-toleration-seconds=15", "--allow-privileged=true",
        ],
    )  # fmt: skip


def _start_controllers(hub: Space, programs: Path, config: Path) -> None:
    hub.start(
        "kube-controller-manager",
        [
            programs / "kube-controller-manager", f"--kubeconfig={config}", "--port=0", "--secure-port=0",
            "--leader-elect=false", "--controllers=*,-nodeipam,-route,-service,-cloud-node-lifecycle",
        ],
    )  # fmt: skip
    hub.start(
        "kube-scheduler",
        [programs / "kube-scheduler", f"--kubeconfig={config}", "--leader-elect=false", "--port=0", "--secure-port=0"],
    )


def _pushed_pause(made: Machine, registry: int) -> str:
    """Push the image of what holds the namespaces of a pod; return its name."""
    tree, layout = made.directory / "pause-tree", made.directory / "pause"
    tree.mkdir()
    (tree / "pause").write_bytes((made.programs / "node" / "usr" / "bin" / "catatonit").read_bytes())
    (tree / "pause").chmod(0o755)
    image_of_tree(layout, tree, {"Entrypoint": ["/pause", "-P"]})
    name = f"127.0.0.1:{registry}/pause:1"

    def is_pushed() -> bool:
        words = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{name}"]
        done = subprocess.run([tools() / "skopeo", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return True

    eventually(is_pushed, 60)
    return name


def main(directory: str) -> None:
    """Run a cluster until this program is told to end, and say how it is reached."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with cluster(Path(directory).resolve()) as found, suppress(KeyboardInterrupt):
        told = {
            "CLUSTER": found.config,
            "REGISTRY": f"http://127.0.0.1:{found.registry}",
            "BASE": found.base,
            "ADDRESS": HUB,
            "NETWORK": found.machine.hub.init,
        }
        print(*(f"RECONCILER_TEST_{name}={value}" for name, value in told.items()), "make test-cluster", flush=True)
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
