"""What operators ask of apps in a cluster: logs, use and restarts, read and done through its API."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.ownership import INSTALLATION, RESTARTED
from reconciler.settings.file import parse
from reconciler.settings.settings import Settings
from reconciler.state.schema import state_id
from tests.support.eventually import eventually
from tests.support.kube_api import KubeApi, kubeconfig
from tests.support.life import Cues
from tests.support.placed import is_told, placed
from tests.support.registries import ScriptedRegistry
from tests.support.site import Site

pytestmark = [pytest.mark.system, pytest.mark.nightly]

PODS = "/api/v1/namespaces/web/pods"
METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/web/pods"


@pytest.fixture
def options(site: Site, api: KubeApi, registry: ScriptedRegistry) -> list[str]:
    return placed(site, kubeconfig(site.root, f"http://127.0.0.1:{api.port}"), registry)


def with_pods(site: Site, api: KubeApi) -> None:
    """Have two pods of the app, one of them ready."""
    for number, status in ((1, "True"), (2, "False")):
        labels = {"reconciler.dev/app": "shop", "reconciler.dev/part": "web", INSTALLATION: state_id(site.state)}
        pod: dict[str, Any] = {"kind": "Pod", "metadata": {"name": f"shop-{number}", "labels": labels}}
        api.put({**pod, "status": {"conditions": [{"type": "Ready", "status": status}]}}, "kubelet")
        api.others[f"{PODS}/shop-{number}/log"] = f"hello from {number}\nGET / 200\x1b[2J\n"


def test_logs_are_those_of_its_pods_and_use_is_what_the_cluster_measures(
    site: Site, api: KubeApi, options: list[str]
) -> None:
    site.start(*options)
    eventually(lambda: is_told(site, "running"), 120)
    with_pods(site, api)
    done = site.cli("logs", "shop", "-n", "10")
    assert done.stdout.splitlines() == [
        "1  hello from 1", r"1  GET / 200\x1b[2J", "2  hello from 2", r"2  GET / 200\x1b[2J",
    ]  # fmt: skip
    first, *_ = map(json.loads, site.cli("logs", "shop", "--json").stdout.splitlines())
    assert first == {"app": "shop", "pod": "shop-1", "text": "hello from 1"}
    # What only a host has is refused with what to do, and so is what the account may not read.
    assert "leave out --which access" in site.cli("logs", "shop", "--which", "access").stderr
    assert "pipe its lines through grep" in site.cli("logs", "shop", "--grep", "a").stderr
    assert "staging build" in site.cli("logs", "shop", "--which", "staging").stdout

    unmeasured = site.cli("top", "--once", "--interval", "100ms").stdout
    assert "prod: shop: 1 of 2 pods ready; what they use is not measured there: install metrics-server" in unmeasured
    usage = {"cpu": "250000000n", "memory": "65536Ki"}
    measured = [{"metadata": {"name": f"shop-{number}"}, "containers": [{"usage": usage}]} for number in (1, 2)]
    api.others[METRICS] = {"items": measured}
    shown = site.cli("top", "--once", "--interval", "100ms").stdout
    assert "prod: shop: 1 of 2 pods ready, 0.50 cores, 128.0M" in shown

    api.allowed = {("list", "", "pods")}
    refused = site.cli("logs", "shop")
    assert refused.returncode == 1
    assert 'cannot get resource "pods/log"' in refused.stderr
    api.fault = lambda *_: 503
    assert "prod: cannot be asked: scripted 503" in site.cli("top", "--once", "--interval", "100ms").stdout


def restarted_at(api: KubeApi) -> str:
    annotations = api.of("Deployment", "shop")["spec"]["template"]["metadata"].get("annotations") or {}
    return str(annotations.get(RESTARTED, ""))


def image(api: KubeApi) -> str:
    return str(api.of("Deployment", "shop")["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_restart_replaces_the_pods_once_and_another_daemon_does_not_repeat_it(
    site: Site, api: KubeApi, options: list[str]
) -> None:
    daemon = site.start(*options)
    eventually(lambda: is_told(site, "running"), 120)
    before = image(api)
    assert restarted_at(api) == ""
    site.cli("restart", "shop")
    eventually(lambda: restarted_at(api) != "", 120)
    asked_at = restarted_at(api)
    assert image(api) == before
    eventually(lambda: is_told(site, "running"), 120)
    site.end(daemon, signal.SIGKILL)
    site.start(*options)
    eventually(lambda: is_told(site, "running"), 120)
    site.source("shop", "2")
    eventually(lambda: image(api) != before, 120)
    eventually(lambda: is_told(site, "running"), 120)
    assert restarted_at(api) == asked_at


def of_worker(api: KubeApi) -> tuple[int, str]:
    """How many replicas the process is to have, and since when they are to be."""
    spec = api.of("Deployment", "shop-worker")["spec"]
    return spec["replicas"], spec["template"]["metadata"].get("annotations", {}).get(RESTARTED, "")


def test_one_process_is_restarted_stopped_and_started_by_itself(site: Site, api: KubeApi, options: list[str]) -> None:
    site.manifest("shop", place="prod", probation="0s", processes={"worker": {"command": "sleep 9", "count": 2}})
    daemon = site.start(*options)
    eventually(lambda: is_told(site, "running"), 120)
    web = api.of("Deployment", "shop")["metadata"]["generation"]
    assert of_worker(api) == (2, "")
    site.cli("restart", "shop", "worker")
    eventually(lambda: of_worker(api)[1] != "", 120)
    asked_at = of_worker(api)[1]
    site.cli("stop", "shop", "worker")
    eventually(lambda: of_worker(api) == (0, asked_at), 120)
    site.end(daemon, signal.SIGKILL)
    site.start(*options)
    eventually(lambda: is_told(site, "running"), 120)
    assert of_worker(api) == (0, asked_at)
    eventually(lambda: site.cli("start", "shop", "worker").returncode == 0, 120)  # once the daemon answers
    eventually(lambda: of_worker(api) == (2, asked_at), 120)
    assert api.of("Deployment", "shop")["metadata"]["generation"] == web
    assert "has no process 'mailer': it has worker" in site.cli("restart", "shop", "mailer").stderr


def test_images_of_an_app_are_deleted_once_nothing_needs_them(
    site: Site, api: KubeApi, registry: ScriptedRegistry, options: list[str]
) -> None:
    site.start(*options)
    eventually(lambda: is_told(site, "running"), 120)

    def digests() -> set[str]:
        return {name for repository, name in registry.manifests if repository == "web/shop" and ":" in name}

    gc = ("gc", "--images", "--older-than", "0s", *options)
    assert "image" not in site.cli(*gc).stdout
    first = digests()
    assert image(api).rpartition("@")[2] in first
    site.source("shop", "2")
    eventually(lambda: image(api).rpartition("@")[2] not in first, 120)
    eventually(lambda: is_told(site, "running"), 120)
    assert "image" not in site.cli(*gc).stdout  # the app may go back to the one before
    assert len(digests()) == 2
    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: api.names() == [], 120)
    eventually(lambda: "shop" not in site.cli("status").stdout, 120)
    would = site.cli(*gc, "--dry-run").stdout
    assert would.count("would remove image") == 2
    assert len(digests()) == 2
    assert "image" not in site.cli("gc", "--images", *options).stdout  # its retention is not over
    removed = site.cli(*gc).stdout
    assert removed.count("removed image") == 3, removed  # and the layout of this host
    assert digests() == set()
    assert not (site.state / "images" / "shop").exists()
    assert "nothing to remove" in site.cli(*gc).stdout


def test_the_daemon_deletes_images_now_and_then_and_tells_once_of_what_stays(
    site: Site, api: KubeApi, registry: ScriptedRegistry, options: list[str]
) -> None:
    settings = parse(options[1], Path(options[1]).read_bytes(), Settings(manifests=Path(), paths=site.paths)).given
    often = {f"reconciler.daemon.housekeeping.{name}": 0.2 for name in ("_COLLECT_EVERY_S", "_COLLECT_AGAIN_S")}
    registry.deletes = False
    site.live(Cues(constants=often), clusters=settings["clusters"], retention_s=0.0)
    eventually(lambda: is_told(site, "running"), 120)
    (digest,) = (name for repository, name in registry.manifests if repository == "web/shop" and ":" in name)

    def told(words: str) -> list[str]:
        return [text for _, _, text in site.events() if words in text]

    (site.manifests / "shop.yaml").unlink()
    (told_once,) = eventually(lambda: told("it deletes nothing"), 120)
    assert told_once.startswith("an image that no revision needs stays: ")
    asked = len(registry.asked)
    eventually(lambda: len(registry.asked) > asked + 6, 60)
    assert told("it deletes nothing") == [told_once]
    registry.deletes = True
    eventually(lambda: ("web/shop", digest) not in registry.manifests, 60)
    eventually(lambda: any(digest in text for text in told("unused images: ")), 60)
