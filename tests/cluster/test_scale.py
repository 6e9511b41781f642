"""Many apps on many nodes that run nothing: the whole daemon, with the real API server, controllers and scheduler.

The figures are printed, and are in docs/evidence/clusters.md; no test is about time. RECONCILER_TEST_NODES,
RECONCILER_TEST_APPS and RECONCILER_TEST_INSTANCES, of each app, say how many.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.placed import placed
from tests.support.registries import scripted_registry
from tests.support.site import Site
from tests.tools.engine import Engine, control_plane, engine
from tests.tools.fake_nodes import fake_nodes

pytestmark = pytest.mark.skipif(
    engine("kube-scheduler") is None or os.environ.get("RECONCILER_TEST_CLUSTER") != "engine",
    reason="needs the engine: make test-cluster",
)
NODES = int(os.environ.get("RECONCILER_TEST_NODES", "100"))
APPS = int(os.environ.get("RECONCILER_TEST_APPS", "50"))
INSTANCES = int(os.environ.get("RECONCILER_TEST_INSTANCES", "1"))
RESYNC_S = 30
_LOOKS = 4
_HOURS_S = 3600.0
_WRITES = re.compile(
    r'^apiserver_request_total\{.*resource="(?:deployments|services)".*verb="(?:APPLY|PATCH|DELETE)".*\} (\d+)'
)


def processor_s(pid: int) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid: int) -> int:
    """The memory of a process, what it shares divided among those that share it."""
    (line,) = [each for each in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if each.startswith("Pss:")]
    return int(line.split()[1])


def writes(plane: Engine) -> int:
    """How often an object of ours was applied or deleted."""
    found = (_WRITES.match(line) for line in str(plane.ask("GET", "/metrics")).splitlines())
    return sum(int(each[1]) for each in found if each)


@contextmanager
def many(directory: Path, site: Site) -> Iterator[tuple[Engine, int]]:
    """Run a daemon with so many apps in a cluster with so many nodes; yield that and the pid of the daemon."""
    with (
        control_plane(directory / "engine", schedules=True) as plane,
        fake_nodes(plane.config, NODES, directory / "nodes.log"),
        scripted_registry() as registry,
    ):
        plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "web"}})
        eventually(lambda: len(plane.names("/api/v1/nodes")) == NODES, _HOURS_S)
        options = placed(site, plane.config, registry)
        settings = site.root / "host.yaml"
        settings.write_text(settings.read_text().replace('"retry"', f'"resync": "{RESYNC_S}s", "retry"'))
        (site.manifests / "shop.yaml").unlink()
        for number in range(APPS):
            site.source(f"app-{number}")
            site.manifest(f"app-{number}", place="prod", probation="0s", instances=INSTANCES)
        yield plane, site.execute(*options).pid


def ready(plane: Engine, name: str = "") -> int:
    """How many pods are ready, of one app or of all."""
    selector = f"?labelSelector=reconciler.dev/app={name}" if name else ""
    pods = plane.ask("GET", f"/api/v1/namespaces/web/pods{selector}")["items"]
    return sum(
        any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    )


def test_many_apps_on_many_nodes_are_looked_at_without_a_write_and_an_edit_is_seen_soon(
    tmp_path: Path, site: Site
) -> None:
    begun = time.monotonic()
    with many(tmp_path, site) as (plane, pid):

        def all_run() -> bool:
            states = [row["state"] for row in site.status()["apps"]]
            assert states.count("running") == APPS, {state: states.count(state) for state in states}
            return True

        eventually(all_run, _HOURS_S)
        assert ready(plane) == APPS * INSTANCES
        there_s, there_kib, taken_s = time.monotonic() - begun, memory_kib(pid), processor_s(pid)
        print(
            f"{APPS} apps of {INSTANCES} on {NODES} nodes: there after {there_s:.0f} s,"
            f" {taken_s:.0f} s of the daemon's processor time"
        )

        written, begun_s = writes(plane), processor_s(pid)
        time.sleep(RESYNC_S * _LOOKS)
        look_s = (processor_s(pid) - begun_s) / _LOOKS
        assert writes(plane) == written
        print(f"{look_s * 1000:.0f} ms of processor time for a look at all, with all else of {RESYNC_S} s; no write")
        print(
            f"{there_kib / 1024:.0f} MiB of the daemon's memory once all are there, {memory_kib(pid) / 1024:.0f} later"
        )

        edited = f"app-{APPS // 2}"
        before = plane.names(f"/api/v1/namespaces/web/pods?labelSelector=reconciler.dev/app={edited}")

        def replaced() -> bool:
            names = plane.names(f"/api/v1/namespaces/web/pods?labelSelector=reconciler.dev/app={edited}")
            return not set(before) & set(names) and ready(plane, edited) == INSTANCES

        begun, begun_s = time.monotonic(), processor_s(pid)
        site.source(edited, "2")
        eventually(replaced, _HOURS_S)
        seen_s, edit_s = time.monotonic() - begun, processor_s(pid) - begun_s
        eventually(all_run, _HOURS_S)
        told_s = time.monotonic() - begun
        print(
            f"an edit of one: its new pods alone after {seen_s:.1f} s, told after {told_s:.1f} s;"
            f" {edit_s * 1000:.0f} ms of the daemon's processor time; {writes(plane) - written} writes"
        )
