"""A node of a cluster in a machine: containerd, a real kubelet and kube-proxy, and a registry at its loopback."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tools.machine import Machine, Space

PROGRAMS = ("kubelet", "kube-proxy")


def start_registry(space: Space, programs: Path, storage: Path, port: int) -> None:
    """Serve what is in a directory as a registry does, at the loopback of a space."""
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of a test"},
    }
    file = space.directory / "registry.yml"
    file.write_text(json.dumps(settings))
    words: list[str | Path] = [programs / "node" / "usr" / "bin" / "docker-registry", "serve", file]
    space.start("registry", words, {"OTEL_TRACES_EXPORTER": "none"})


def start_node(machine: Machine, number: int, kubeconfig: Path, storage: Path, port: int, pause: str) -> None:
    """Start everything of a node; `pause` is the image of what holds the namespaces of a pod."""
    node = machine.nodes[number]
    top, debian = node.directory, machine.programs / "node"
    env = _environment(node, debian)
    start_registry(node, machine.programs, storage, port)
    _write_network(top / "cni", number)
    _containerd(top, debian, port, pause)
    node.start("containerd", [debian / "usr" / "bin" / "containerd", "--config", top / "containerd.toml"], env)
    _write(top / "kubelet.yaml", _kubelet(machine, number))
    start_kubelet(machine, number, kubeconfig)
    start_proxy(node, machine, kubeconfig, number)


def start_kubelet(machine: Machine, number: int, kubeconfig: Path) -> None:
    """Start the kubelet of a node; pods outlive it."""
    node = machine.nodes[number]
    top = node.directory
    node.start(
        "kubelet",
        [
            machine.programs / "kubelet", f"--config={top}/kubelet.yaml", f"--kubeconfig={kubeconfig}",
            f"--hostname-override=node-{number}", f"--node-ip={machine.address(number)}",
            f"--root-dir={top}/data/kubelet", "--container-runtime=remote", f"--cert-dir={top}/data/pki",
            f"--container-runtime-endpoint=unix://{top}/data/containerd.sock",
        ],
        _environment(node, machine.programs / "node"),
    )  # fmt: skip


def start_proxy(space: Space, machine: Machine, kubeconfig: Path, number: int) -> None:
    """Have addresses of Services lead to pods in a space, as on a node; its own sources are not changed on the way."""
    space.start(
        "kube-proxy",
        [
            machine.programs / "kube-proxy", f"--kubeconfig={kubeconfig}", f"--hostname-override=node-{number}",
            "--proxy-mode=iptables", "--cluster-cidr=10.0.0.0/8", "--conntrack-max-per-core=0", "--v=2",
        ],
        _environment(space, machine.programs / "node"),
    )  # fmt: skip


def _environment(space: Space, debian: Path) -> dict[str, str]:
    """Where programs of a node find others, iptables among them, which has its names from links."""
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"):
        link = space.directory / "bin" / name
        if not link.is_symlink():
            link.symlink_to(debian / "usr" / "sbin" / "xtables-nft-multi")
    libraries = debian / "usr" / "lib" / "x86_64-linux-gnu"
    return {
        "PATH": f"{space.directory}/bin:{debian}/usr/bin:{debian}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }


def _containerd(top: Path, debian: Path, port: int, pause: str) -> None:
    (top / "containerd.toml").write_text(f"""\
version = 2
root = "{top}/data/containerd"
state = "{top}/data/run"
[grpc]
address = "{top}/data/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{debian}/usr/lib/cni"
conf_dir = "{top}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."127.0.0.1:{port}"]
endpoint = ["http://127.0.0.1:{port}"]
""")


def _write_network(directory: Path, number: int) -> None:
    directory.mkdir()
    _write(
        directory / "pods.conflist",
        {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": f"10.244.{number}.0/24"}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        },
    )


def _kubelet(machine: Machine, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"{machine.cgroup}/node-{number}",
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "protectKernelDefaults": True,
        "resolvConf": "",
        "nodeStatusUpdateFrequency": "5s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi"},
        "volumePluginDir": f"{machine.nodes[number].directory}/data/plugins",
    }


def _write(file: Path, told: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(told))
