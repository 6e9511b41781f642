"""Workers of an app beside its web: they follow a deploy, finish what they work on, and outlive the daemon."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import at_leisure, eventually
from tests.support.site import Site, get, is_gone
from tests.support.web import fetch

# Says what it runs; a job is at hand until a file is removed, and it finishes that before it ends.
WORKER = """
import os, signal, time
ends, state = [], os.environ["HOME"]
signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
with open(state + "/" + os.environ["RECONCILER_PROCESS"] + ".{version}", "w") as file:
    file.write(str(os.getpid()))
while not ends or os.path.exists(state + "/job.{version}"):
    time.sleep(0.02)
"""


def release(site: Site, version: str) -> None:
    site.source("blog", version, worker=WORKER.replace("{version}", version))


def pid_of(site: Site, which: str) -> int | None:
    """The pid that a number of a process wrote down when it began: `worker.1.2` for the first of version 2."""
    file = site.paths.home("blog") / which
    text = file.read_text() if file.exists() else ""
    return int(text) if text else None


def row(site: Site, name: str = "worker") -> dict[str, Any]:
    found: list[dict[str, Any]] = [row for row in site.told("blog")["processes"] if row["name"] == name]
    return found[0] if found else {"running": 0, "draining": 0, "state": "none"}


def job(site: Site, version: str) -> Path:
    home = site.paths.home("blog")
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"job.{version}"
    file.touch()
    return file


def test_workers_follow_a_deploy_finish_what_they_work_on_and_outlive_the_daemon(site: Site) -> None:
    release(site, "1")
    at_hand = job(site, "1")
    workers = {"command": "python worker.py", "count": 2, "ready": {"after": "300ms"}, "stop_timeout": "60s"}
    port = site.app("blog", probation="1s", processes={"worker": workers})
    daemon = site.start()
    eventually(lambda: row(site)["running"] == 2)
    eventually(lambda: all(pid_of(site, f"worker.{number}.1") for number in (1, 2)))  # they write it once they run
    before = [pid_of(site, f"worker.{number}.1") for number in (1, 2)]
    assert row(site)["pids"] == before
    release(site, "2")
    eventually(site.serves("blog", "2", port))
    eventually(lambda: (row(site)["running"], row(site)["draining"]) == (2, 2))
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    after = [pid_of(site, f"worker.{number}.2") for number in (1, 2)]
    site.start()
    eventually(lambda: site.told("blog")["state"] == "running")
    assert (row(site)["pids"], row(site)["draining"]) == (after, 2)
    assert not any(is_gone(pid) for pid in (*before, *after) if pid)
    at_hand.unlink()
    eventually(lambda: row(site)["draining"] == 0)
    assert [pid_of(site, f"worker.{number}.2") for number in (1, 2)] == after
    site.app("blog", "2", port=port, probation="1s")
    eventually(lambda: all(is_gone(pid) for pid in after if pid))
    eventually(lambda: site.told("blog")["processes"] == [])


def test_of_a_single_process_the_next_waits_and_a_crash_is_told_and_repaired(site: Site) -> None:
    release(site, "1")
    at_hand = job(site, "1")
    beat = {"command": "python worker.py", "single": True, "ready": {"after": "200ms"}}
    port = site.app("blog", probation="1s", processes={"beat": beat})
    site.start()
    eventually(lambda: row(site, "beat")["running"] == 1)
    first = eventually(lambda: pid_of(site, "beat.1.1"))
    assert first is not None
    release(site, "2")
    eventually(site.serves("blog", "2", port))
    eventually(lambda: row(site, "beat")["draining"] == 1)
    assert pid_of(site, "beat.1.2") is None
    at_hand.unlink()
    eventually(lambda: row(site, "beat")["running"] == 1)
    assert is_gone(first)
    second = eventually(lambda: pid_of(site, "beat.1.2"))
    assert second is not None
    os.kill(second, signal.SIGKILL)
    eventually(lambda: pid_of(site, "beat.1.2") not in {second, None} and row(site, "beat")["running"] == 1)
    told = [text for _, kind, text in site.events("blog") if kind == "exited"]
    assert len(told) == 1
    assert told[0].startswith(f"beat.1 (pid {second}) was ended by SIGKILL")


def test_a_worker_that_fails_on_probation_takes_the_revision_back(site: Site) -> None:
    release(site, "1")
    workers = {"command": "python worker.py", "ready": {"after": f"{round(at_leisure(2.0))}s"}}  # it fails before
    port = site.app("blog", probation="1s", processes={"worker": workers})
    site.start()
    eventually(lambda: bool(site.known_good("blog")) and row(site)["running"] == 1)
    before = eventually(lambda: pid_of(site, "worker.1.1"))
    site.source("blog", "2", worker="raise SystemExit('no queue')")
    why = "its process worker.1 exited with 1; it said: no queue; revision"
    eventually(lambda: why in site.told("blog")["message"] and get(port) == "1")
    eventually(lambda: site.told("blog")["state"] == "degraded")
    eventually(lambda: (row(site)["state"], row(site)["pids"]) == ("running", [before]))


def test_one_process_is_stopped_started_and_restarted_by_hand_on_the_page_and_through_the_api(site: Site) -> None:
    release(site, "1")
    workers = {"command": "python worker.py", "ready": {"after": "100ms"}, "env": {"QUEUE_PASSWORD": "swordfish-77"}}
    port = site.app("blog", probation="1s", processes={"worker": workers})
    daemon = site.start()
    eventually(lambda: row(site)["running"] == 1)
    first = eventually(lambda: pid_of(site, "worker.1.1"))
    assert first is not None
    web = site.pid("blog")
    assert "told to finish" in site.cli("stop", "blog", "worker").stdout
    eventually(lambda: (row(site)["state"], is_gone(first)) == ("stopped", True))
    sent = {"Content-Type": "application/json"}

    def asked(do: str, process: str) -> int:
        content = json.dumps({"do": do, "app": "blog", "process": process})
        return fetch(site.paths.api, "/api/v1/requests", "POST", content, sent).status

    assert (asked("start", "worker"), asked("start", "none"), asked("rollback", "worker")) == (200, 404, 422)
    eventually(lambda: row(site)["running"] == 1)
    second = eventually(lambda: (found := pid_of(site, "worker.1.1")) != first and found)
    eventually(lambda: "1 of 1" in fetch(site.paths.api, "/apps/blog").body)
    assert "/apps/blog/processes/worker/restart" in fetch(site.paths.api, "/apps/blog").body
    assert "Restart worker of blog?" in fetch(site.paths.api, "/apps/blog/processes/worker/restart").body
    assert fetch(site.paths.api, "/apps/blog/processes/none/restart").status == 404
    assert "restarting" in site.cli("restart", "blog", "worker").stdout
    eventually(lambda: row(site)["running"] == 1 and pid_of(site, "worker.1.1") != second)
    assert site.pid("blog") == web
    eventually(lambda: site.cli("plan", "blog").stdout == "nothing to do: 1 app up to date\n")
    with site.paths.log("blog", "worker.1").open("a") as log:
        log.write("the password is swordfish-77\n")
    assert "the password is" in fetch(site.paths.api, "/api/v1/logs/blog?which=worker.1").body
    assert "swordfish" not in fetch(site.paths.api, "/api/v1/logs/blog?which=worker.1").body
    assert "swordfish" not in fetch(site.paths.api, "/apps/blog").body
    assert site.cli("stop", "blog", "none").returncode == 1
    ready = [text for _, kind, text in site.events("blog") if kind == "ready" and text.startswith("worker.1")]
    assert re.fullmatch(rf"worker\.1 \(pid {first}\) is up after \d+s", ready[0])
    site.end(daemon)
    fields = {"port": port, "probation": "1s"}
    site.manifest("blog", **fields, processes={"worker": {**workers, "count": 3}})
    assert "blog/worker: start 2 — it was not running\n" in site.cli("plan", "blog").stdout
    site.manifest("blog", **fields, processes={})
    assert "blog/worker: stop 1 — its manifest does not name it any more\n" in site.cli("plan", "blog").stdout
    site.source("blog", "2", worker=WORKER)
    site.manifest("blog", **fields, processes={"worker": workers})
    lines = site.cli("plan", "blog").stdout
    assert "blog/worker: start 1 once its web serves — its code or its configuration changed\n" in lines
    assert "blog/worker: then stop 1 — replaced by new instances\n" in lines


def test_a_secret_of_a_worker_alone_replaces_the_worker_alone_and_is_shown_nowhere(site: Site) -> None:
    release(site, "1")
    secret = site.root / "queue-password"
    workers = {
        "command": "python worker.py",
        "ready": {"after": "200ms"},
        "env": {"QUEUE_PASSWORD": {"file": str(secret)}, "QUEUE": "mails"},
    }
    port = site.app("blog", probation="1s", processes={"worker": workers})
    daemon = site.start()
    eventually(lambda: get(port) == "1")
    web = site.pid("blog")
    eventually(lambda: f"waiting: cannot read {secret}" in row(site)["message"])
    assert (row(site)["state"], row(site)["running"]) == ("failing", 0)
    site.save(secret, "swordfish-77\n")
    eventually(lambda: row(site)["running"] == 1)
    first = eventually(lambda: pid_of(site, "worker.1.1"))
    assert first is not None
    assert b"QUEUE_PASSWORD=swordfish-77\0" in Path(f"/proc/{first}/environ").read_bytes()
    assert b"swordfish" not in Path(f"/proc/{first}/cmdline").read_bytes()
    assert "QUEUE_PASSWORD" not in get(port, "/env")
    site.save(secret, "marlin-88\n")
    eventually(lambda: is_gone(first) and row(site)["running"] == 1)
    second = eventually(lambda: (found := pid_of(site, "worker.1.1")) != first and found)
    assert b"QUEUE_PASSWORD=marlin-88\0" in Path(f"/proc/{second}/environ").read_bytes()
    site.end(daemon, signal.SIGKILL)
    secret.unlink()
    site.start()
    eventually(lambda: row(site)["state"] == "degraded" and "last known values" in row(site)["message"])
    assert (pid_of(site, "worker.1.1"), row(site)["pids"], site.pid("blog")) == (second, [second], web)
    (site.paths.logs / "blog" / "worker.1.log").write_text("the passwords are swordfish-77 and marlin-88\n")
    said = fetch(site.paths.api, "/api/v1/logs/blog?which=worker.1").body
    assert "the passwords are" in said
    kept = [site.paths.database.read_bytes(), json.dumps([site.status(), site.events()]).encode(), said.encode()]
    assert not any(word in text for text in kept for word in (b"swordfish", b"marlin"))


SILENT = """
import os, signal, socket, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
told.connect(os.environ["NOTIFY_SOCKET"])
child = subprocess.Popen(["sleep", "600"])
with open(os.environ["HOME"] + "/silent", "a") as file:
    file.write(f"{os.getpid()} {child.pid}\\n")
told.send(b"READY=1")
time.sleep(600)
"""


@pytest.mark.nightly
def test_a_worker_that_its_watchdog_finds_silent_is_killed_soon_whatever_its_stop_timeout(site: Site) -> None:
    site.source("blog", "1", silent=SILENT)
    workers = {"command": "python silent.py", "ready": "notify", "watchdog": "1s", "stop_timeout": "1h"}
    site.app("blog", probation="1s", processes={"worker": workers})
    site.start()
    file = site.paths.home("blog") / "silent"
    eventually(lambda: len(file.read_text().split()) >= 2, 120)
    first = [int(pid) for pid in file.read_text().split()[:2]]
    eventually(lambda: len(file.read_text().split()) >= 4, 120)
    eventually(lambda: all(map(is_gone, first)), 120)
    told = [text for _, kind, text in site.events("blog") if kind == "stopping"]
    assert told[0] == f"worker.1 (pid {first[0]}) is told to finish"
    assert f"worker.1 (pid {first[0]}) is killed with all that it started" in told


WAITING = """
import os, sys
print("a warning", file=sys.stderr)
print("looking")
print(open(os.path.join(os.environ["HOME"], "waiting")).read())
if os.environ["QUEUE"] != "mails" or "PORT" in os.environ:
    sys.exit("wrong place")
"""


def test_as_many_run_as_a_command_says_and_its_failure_changes_nothing(site: Site) -> None:
    release(site, "1")
    site.save(site.root / "apps/blog/waiting.py", WAITING)
    waiting = site.paths.home("blog") / "waiting"
    waiting.parent.mkdir(parents=True, exist_ok=True)
    site.save(waiting, "250")
    scale = {"command": "python waiting.py", "per": 100, "max": 4, "every": "1s", "calm": "2s"}
    worker = {"command": "python worker.py", "ready": {"after": "300ms"}, "env": {"QUEUE": "mails"}, "scale": scale}
    site.app("blog", probation="1s", processes={"worker": worker})
    daemon = site.start()
    eventually(lambda: (row(site)["running"], row(site)["desired"]) == (3, 3))
    pids = row(site)["pids"]
    site.save(waiting, "many")
    told = eventually(lambda: (found := row(site))["reason"] == "scale-unknown" and found)
    assert told["message"] == "the number stays at 3: its 'scale' command failed: it printed 'many', not a number"
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    waiting.unlink()
    site.start()
    eventually(lambda: "FileNotFoundError" in row(site)["message"])
    told = row(site)
    assert (told["pids"], told["desired"], told["state"]) == (pids, 3, "running")
    site.save(waiting, "0")
    eventually(lambda: (row(site)["running"], row(site)["draining"], row(site)["message"]) == (1, 0, ""))
    scaled = [text for _, kind, text in site.events("blog") if kind == "scaled"]
    assert ["1 → 3" in scaled[0], "3 → 1" in scaled[-1]] == [True, True]
    assert row(site)["pids"] == pids[:1]
