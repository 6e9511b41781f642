"""An app of processes and schedules alone: no web server, no port, and all the rest as for any other app."""

import contextlib
import re
import signal
from typing import Any

from reconciler.state.schema import open_database
from tests.support.eventually import eventually
from tests.support.site import Site, get, is_gone

WORKER = """
import os, time
assert "PORT" not in os.environ and "VCAP_APP_PORT" not in os.environ
with open(os.path.join(os.environ["HOME"], "worker.{version}"), "w") as file:
    file.write(str(os.getpid()))
while True:
    time.sleep(0.05)
"""
RELEASE = "import os; open(os.path.join(os.environ['HOME'], 'released.{version}'), 'w').close()"
JOBS = {
    "web": False,
    "probation": "1s",
    "release": "python prepare.py",
    "processes": {"worker": {"command": "python worker.py", "ready": {"after": "200ms"}}},
    "schedules": {"nightly": {"command": "python prepare.py", "at": "30 3 * * *"}},
}


def jobs(site: Site, version: str, worker: str = WORKER) -> None:
    directory = site.root / "apps" / "jobs"
    directory.mkdir(exist_ok=True)
    site.save(directory / "prepare.py", RELEASE.replace("{version}", version))
    site.save(directory / "worker.py", worker.replace("{version}", version))


def worker(site: Site) -> dict[str, Any]:
    found: list[dict[str, Any]] = [row for row in site.told("jobs")["processes"] if row["name"] == "worker"]
    return found[0]


def runs(site: Site, version: str) -> int | None:
    """Return the pid of the worker of a version once it is the one that runs."""
    file = site.paths.home("jobs") / f"worker.{version}"
    if not file.exists() or worker(site)["pids"] != [int(file.read_text() or 0)] or worker(site)["running"] != 1:
        return None
    return int(file.read_text())


def leases(site: Site) -> list[str]:
    with contextlib.closing(open_database(site.paths.database, read_only=True)) as database:
        return [app for (app,) in database.execute("SELECT app FROM lease")]


def test_it_is_released_deployed_taken_back_restarted_and_removed_without_a_port(site: Site) -> None:
    jobs(site, "1")
    site.manifest("jobs", **JOBS)
    daemon = site.start()
    eventually(lambda: runs(site, "1"))
    assert (site.paths.home("jobs") / "released.1").exists()
    eventually(lambda: len(site.known_good("jobs")) == 1)
    told = site.told("jobs")
    assert (told["state"], told["url"], told["port"], told["pid"], told["workers"]) == ("running", None, None, None, 0)
    assert told["schedules"][0]["name"] == "nightly"
    assert leases(site) == []
    line = r'^reconciler_app_memory_bytes\{app="jobs"\} (\d+)$'
    (memory,) = re.findall(line, site.cli("metrics").stdout, re.MULTILINE)
    assert int(memory) > 2**20, "its worker counts"
    assert "is in force" in "\n".join(text for _, _, text in site.events("jobs"))
    assert site.cli("plan").returncode == 0

    jobs(site, "2")
    second = eventually(lambda: runs(site, "2"))
    eventually(lambda: len(site.known_good("jobs")) == 2)
    site.end(daemon, signal.SIGKILL)
    assert site.cli("plan").returncode == 0
    site.start()
    eventually(lambda: site.told("jobs")["state"] == "running")
    assert runs(site, "2") == second
    refused = site.cli("maintenance", "jobs", "on")
    assert "is for a web server" in refused.stdout + refused.stderr

    jobs(site, "3", worker="raise SystemExit('no queue')")
    eventually(lambda: "it said: no queue" in site.told("jobs")["message"])
    eventually(lambda: site.told("jobs")["state"] == "degraded" and runs(site, "2"))
    jobs(site, "4")
    fourth = eventually(lambda: runs(site, "4"))
    assert "restarting" in site.cli("restart", "jobs").stdout
    eventually(lambda: runs(site, "4") not in {None, fourth})
    assert fourth is not None
    assert is_gone(fourth)

    site.cli("stop", "jobs")
    eventually(lambda: site.told("jobs")["state"] == "stopped" and worker(site)["pids"] == [])
    site.cli("start", "jobs")
    last = eventually(lambda: runs(site, "4"))
    assert last is not None
    (site.manifests / "jobs.yaml").unlink()
    eventually(lambda: is_gone(last) and not site.status()["apps"])
    assert site.marked() == set()


def test_an_app_gives_up_its_web_server_and_gets_it_back_with_its_worker_beside_it(site: Site) -> None:
    jobs(site, "1")
    site.source("jobs", "1")
    processes = JOBS["processes"]
    port = site.app("jobs", probation="1s", processes=processes)
    site.start()
    eventually(lambda: get(port) == "1" and runs(site, "1"))
    web = site.pid("jobs")
    site.manifest("jobs", web=False, probation="1s", processes=processes)
    eventually(lambda: is_gone(web) and site.told("jobs")["state"] == "running" and runs(site, "1"))
    assert site.told("jobs")["port"] is None
    site.manifest("jobs", port=port, probation="1s", processes=processes)
    eventually(site.serves("jobs", "1", port))
    eventually(lambda: runs(site, "1"))
