"""A real API server of Kubernetes 1.20.2, with etcd and the controllers, but no node: pods are never run.

Its programs are built from Debian's source package `kubernetes` by `scripts/engine`, which keeps them in a cache.
"""

import contextlib
import json
import os
import subprocess
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.kube_api import kubeconfig
from tests.support.ports import a_port
from tests.tools.kube import MERGE, Kube

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
TOKEN = "of-the-test"
# How long a node may go without being heard of, in a control plane without nodes of its own.
GRACE_S = 600
_OFTEN = ("--kube-api-qps=1000", "--kube-api-burst=2000")


def engine(*others: str) -> Path | None:
    """Return the directory with the programs of a control plane, and others, None if one is missing."""
    cache = Path(os.environ.get("RECONCILER_ENGINE", Path.home() / ".cache" / "reconciler-engine"))
    found = (cache, *sorted(cache.glob("*"))) if cache.is_dir() else ()
    return next((each for each in found if all((each / name).exists() for name in (*PROGRAMS, *others))), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Kube):
    """A control plane that runs."""

    directory: Path

    def make_ready(self) -> None:
        """Say of every pod that it is ready, as its kubelet would."""
        for pod in self.ask("GET", "/api/v1/pods")["items"]:
            conditions = pod["status"].get("conditions", ())
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                continue
            ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "PodScheduled")]
            ready[0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"
            where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
            with contextlib.suppress(urllib.error.HTTPError):  # it is gone by now
                status = {"phase": "Running", "conditions": ready}
                self.ask("PATCH", where, {"status": status}, MERGE)


def trusting(directory: Path, server: str, certificate: Path) -> Path:
    """Write the kubeconfig of the administrator of a server with this certificate."""
    config = kubeconfig(directory, server, token=TOKEN)
    written = json.loads(config.read_text())
    written["clusters"][0]["cluster"]["certificate-authority"] = str(certificate)
    config.write_text(json.dumps(written))
    return config


@contextmanager
def control_plane(directory: Path, *, schedules: bool = False) -> Iterator[Engine]:
    """Run a control plane on the loopback interface, and end it by its pids.

    One that `schedules` gives pods to nodes, which need not be heard of often; its programs ask as often as they like.
    """
    programs = engine(*(["kube-scheduler"] if schedules else []))
    assert programs is not None
    pki = directory / "pki"
    pki.mkdir(parents=True)
    client, peer, port = a_port(), a_port(), a_port()
    key = pki / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (directory / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> None:
        with (directory / f"{name}.log").open("wb") as log:
            running.append(subprocess.Popen([str(programs / name), *words], stdout=log, stderr=log))

    try:
        start(
            "etcd", f"--data-dir={directory / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}", "--unsafe-no-fsync",
        )  # fmt: skip
        start(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", f"--secure-port={port}",
            "--bind-address=127.0.0.1", f"--cert-dir={pki}", f"--token-auth-file={directory / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--service-account-issuer=https://localhost",
            f"--service-account-signing-key-file={key}", f"--service-account-key-file={key}",
            "--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/16",
        )  # fmt: skip
        eventually((pki / "apiserver.crt").exists, 60)
        config = trusting(directory, f"https://127.0.0.1:{port}", pki / "apiserver.crt")
        made = Engine(directory=directory, config=config)
        eventually(lambda: made.ask("GET", "/readyz") == "ok", 60)
        start(
            "kube-controller-manager", f"--kubeconfig={config}", "--port=0", "--secure-port=0", "--leader-elect=false",
            "--controllers=*,-nodeipam,-route,-service,-cloud-node-lifecycle", *(_OFTEN if schedules else ()),
            f"--node-monitor-grace-period={GRACE_S}s",
        )  # fmt: skip
        if schedules:
            start(
                "kube-scheduler", f"--kubeconfig={config}", "--leader-elect=false", "--port=0", "--secure-port=0",
                *_OFTEN,
            )  # fmt: skip
        yield made
    finally:
        for process in reversed(running):
            process.kill()  # it would wait for the watches of its clients
        for process in running:
            process.wait(30)
