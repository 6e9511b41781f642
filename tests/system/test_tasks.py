"""Tasks on a running host: attached and detached, with the daemon or without it, ended by an operator."""

import contextlib
import http.server
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.state.schema import open_database
from reconciler.state.task_log import TaskLog
from tests.support.eventually import eventually
from tests.support.life import Cues, before_a_minute
from tests.support.site import REPOSITORY, Site
from tests.support.web import fetch

READ_AGAIN = "the files of its variables were read again"
# Goes on once its file is there: its test does what it likes meanwhile.
COUNTING = """\
import os, sys, time
for n in range(30):
    print(n, flush=True)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.05)
raise SystemExit(5)
"""


def command(site: Site, *words: str) -> list[str]:
    """The command line of `reconciler task`, whose options stand before what it runs."""
    return [sys.executable, "-m", "reconciler", "task", "--state", str(site.state), *words]


def run(site: Site, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(site, *words), capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False
    )


def listed(site: Site, *words: str) -> list[dict[str, Any]]:
    told = site.cli("tasks", *words, "--json")
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)["tasks"]
    return found


def named(site: Site, name: str) -> dict[str, Any]:
    (found,) = (task for task in listed(site) if task["name"] == name)
    return found


def ended(site: Site, name: str) -> dict[str, Any]:
    def over() -> dict[str, Any]:
        found = named(site, name)
        assert found["state"] not in {"owed", "running"}, found
        return found

    return eventually(over, 20)


def test_a_task_runs_in_the_place_of_an_instance_and_its_terminal_is_as_a_local_commands(site: Site) -> None:
    site.app("shop", env={"COLOUR": "green"})
    site.start()
    site.await_settled("shop")
    script = (
        "import os, sys; print(os.environ['COLOUR'], 'PORT' in os.environ, 'RECONCILER_INSTANCE' in os.environ);"
        "print(sys.prefix, os.getcwd()); print('oops', file=sys.stderr); sys.exit(3)"
    )
    told = run(site, "shop", "--", "python", "-c", script)
    assert told.returncode == 3
    assert told.stderr == "oops\n"
    first, second = told.stdout.splitlines()
    assert first == "green False False"
    assert str(site.state / "environments") in second
    assert str(site.paths.builds("shop")) in second
    assert run(site, "shop", "--", "sh", "-c", "kill -9 $$").returncode == 137
    missing = run(site, "shop", "--", "no-such-program")
    assert (missing.returncode, "no-such-program: not found" in missing.stderr) == (127, True)
    late = run(site, "shop", "--timeout", "300ms", "--name", "late", "--", "sleep", "60")
    assert (late.returncode, "took longer" in late.stderr) == (143, True)
    big = subprocess.run(
        command(site, "shop", "--", "sh", "-c", "yes x | head -c 100000000"),
        capture_output=True, cwd=REPOSITORY, check=False, timeout=120,
    )  # fmt: skip
    assert (len(big.stdout), set(big.stdout[::4096])) == (100_000_000, {ord("x")})
    assert ended(site, "late")["message"] == "took longer than 0.3s, and was ended (killed by SIGTERM)"
    assert "no valid manifest describes an app named 'shoop'" in run(site, "shoop", "--", "true").stderr

    run(site, "shop", "--detach", "--name", "nap", "--", "sh", "-c", "echo here; setsid sleep 600 & sleep 600")
    nap = eventually(lambda: found if (found := named(site, "nap"))["state"] == "running" else None)
    assert nap is not None
    assert nap["revision"] == site.told("shop")["revision"]
    eventually(lambda: "here" in site.cli("logs", "shop", "--which", f"task:{nap['id'][:6]}").stdout)
    assert site.cli("cancel", nap["id"][:7]).returncode == 0
    over = ended(site, "nap")
    assert (over["state"], over["exit"], over["said"]) == ("cancelled", 143, "here")
    assert "has ended: cancelled" in site.cli("cancel", nap["id"]).stderr
    assert "task" in {kind for _, kind, text in site.events("shop") if nap["id"] in text}
    eventually(lambda: list(site.paths.tasks.iterdir()) == [])  # neither a result nor a terminal's socket is left


def test_a_task_goes_on_without_its_terminal_and_without_the_daemon(site: Site, tmp_path: Path) -> None:
    go = tmp_path / "go"
    site.app("shop")
    daemon = site.start()
    site.await_settled("shop")
    attached = subprocess.Popen(
        command(site, "shop", "--name", "attached", "--", "python", "-c", COUNTING, str(go)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    left = subprocess.Popen(
        command(site, "shop", "--name", "left", "--", "python", "-c", COUNTING, str(go)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    try:
        for process in (attached, left):
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
        left.send_signal(signal.SIGINT)
        _, words = left.communicate(timeout=120)
        assert left.returncode == 130
        assert f"reconciler logs shop --which task:{named(site, 'left')['id']} -f" in words
        site.end(daemon, signal.SIGKILL)
        go.touch()
        rest, _ = attached.communicate(timeout=120)
        assert (attached.returncode, rest.split()) == (5, [str(number) for number in range(1, 30)])
    finally:
        for process in (attached, left):
            process.kill()
            process.wait()
    site.start()
    for name in ("attached", "left"):
        found = ended(site, name)
        assert (found["state"], found["exit"], found["message"]) == ("failed", 5, "exit code 5")
    assert site.paths.task_log("shop", named(site, "left")["id"]).read_text().split() == [str(n) for n in range(30)]


def test_schedules_are_triggered_fail_recover_and_are_seen_everywhere(site: Site, tmp_path: Path) -> None:
    flag, url = tmp_path / "fails", tmp_path / "url"
    flag.write_text("")
    called: list[str] = []
    with pinged(called) as port:
        url.write_text(f"http://127.0.0.1:{port}/secret-of-the-url")
        script = f"echo $RECONCILER_PLANNED_AT; test ! -e {flag}"
        site.app(
            "shop",
            idle_after="1s",
            schedules={
                "cleanup": {"command": ["sh", "-c", script], "at": "0 4 1 1 *", "ping": {"ok": {"file": str(url)}}},
                "never": {"command": "true", "at": "0 4 1 1 *", "paused": True},
            },
        )
        site.start()
        eventually(lambda: site.told("shop")["state"] == "sleeping", 30)
        assert "next cleanup in" in site.told("shop")["message"]
        assert [each["state"] for each in site.told("shop")["schedules"]] == ["ready", "paused"]
        assert site.cli("trigger", "shop", "cleanup").returncode == 0
        failed = ended(site, "cleanup")
        assert (failed["state"], failed["kind"], failed["exit"]) == ("failed", "schedule", 1)
        eventually(lambda: "schedule cleanup is failing: task" in site.told("shop")["message"])
        assert site.told("shop")["state"] == "sleeping", "a schedule wakes no app"
        flag.unlink()
        answer = fetch(
            site.paths.api, "/api/v1/requests", "POST",
            json.dumps({"do": "trigger", "app": "shop", "schedule": "cleanup"}), {"content-type": "application/json"},
        )  # fmt: skip
        task = answer.json["task"]
        eventually(lambda: fetch(site.paths.api, f"/api/v1/tasks/{task}").json["state"] == "succeeded")
        eventually(lambda: called == ["/secret-of-the-url"])
    eventually(lambda: "next cleanup in" in site.told("shop")["message"])
    eventually(lambda: any("succeeded again" in text for _, _, text in site.events("shop")))
    assert all("secret-of-the-url" not in text for _, _, text in site.events())
    page = fetch(site.paths.api, f"/tasks/{task}").body
    assert "exit code 0" in page
    assert "Z</bdi>" in page, "its output is on its page"
    assert 'schedules/cleanup">Run now</a>' in fetch(site.paths.api, "/apps/shop/tasks").body
    counted = 'reconciler_tasks_total{kind="schedule",result="succeeded"} 1'
    eventually(lambda: counted in fetch(site.paths.api, "/metrics").body)
    refused = fetch(
        site.paths.api, "/api/v1/requests", "POST", json.dumps({"do": "task", "app": "shop", "command": "rm -rf"}),
        {"content-type": "application/json"},
    )  # fmt: skip
    assert refused.status == 422
    assert "has no schedule 'nope': it has cleanup, never" in site.cli("trigger", "shop", "nope").stderr


def test_release_commands_are_tasks_with_their_output_exit_code_and_duration(site: Site) -> None:
    release = "echo migrated with $QUEUE_PASSWORD"
    site.app("shop", release=release, probation="1s", env={"QUEUE_PASSWORD": "swordfish-77"})
    site.start()
    eventually(lambda: site.paths.database.exists() and listed(site, "shop"))
    done = ended(site, "release")
    assert (done["kind"], done["state"], done["exit"], done["message"]) == ("release", "succeeded", 0, "exit code 0")
    assert done["took_s"] is not None
    assert done["printed"] > len("migrated with ")
    assert (done["said"], done["revision"]) == ("migrated with •••", site.told("shop")["wanted_revision"])
    eventually(lambda: site.known_good("shop"))
    site.app("shop", port=site.told("shop")["port"], release="echo no such table; exit 3", probation="1s")

    def failed() -> dict[str, Any]:
        (found,) = (task for task in listed(site, "shop") if task["state"] == "failed")
        return found

    broken = eventually(failed)
    assert (broken["exit"], broken["said"]) == (3, "no such table")
    told = fetch(site.paths.api, f"/api/v1/tasks/{broken['id']}").json
    assert (told["exit"], told["said"], told["took_s"]) == (3, "no such table", broken["took_s"])
    for task, words in ((done, "migrated with •••"), (broken, "no such table")):
        page = fetch(site.paths.api, f"/tasks/{task['id']}").body
        assert words in page
        assert f"exit code {task['exit']}" in page
        assert "swordfish" not in page
        printed = site.cli("logs", "shop", "--which", f"task:{task['id']}").stdout
        assert words.split(" *")[0] in printed
    assert "release" in fetch(site.paths.api, "/apps/shop/tasks").body


@contextlib.contextmanager
def pinged(called: list[str]) -> Iterator[int]:
    """A server that writes down which paths were asked for, at the port."""

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.nightly
def test_the_tasks_of_an_app_end_with_it_and_its_build_stays_for_so_long(site: Site) -> None:
    site.app("shop")
    site.start()
    site.await_settled("shop")
    run(site, "shop", "--detach", "--name", "long", "--", "sleep", "600")
    build = site.instances("shop")[0].build
    for version in ("2", "3", "4"):
        before = site.pid("shop")
        site.source("shop", version)
        site.await_successor("shop", before)
    assert (site.paths.builds("shop") / build).exists()
    assert named(site, "long")["state"] == "running"
    (site.manifests / "shop.yaml").unlink()
    (site.manifests / "other.yaml").write_text("path: ../apps/shop\n")
    assert ended(site, "long")["state"] == "cancelled"
    eventually(lambda: not site.paths.app("shop").exists(), 30)


def is_on_record(site: Site, name: str) -> bool:
    with contextlib.closing(open_database(site.paths.database, read_only=True)) as database:
        return any(task.name == name for task in TaskLog(database).newest(None, 50))


def answered(site: Site, name: str, client: "subprocess.Popen[str]") -> bool:
    return is_on_record(site, name) or client.poll() is not None


def test_a_task_of_a_schedule_gets_the_variables_of_that_and_the_web_gets_none_of_them(
    site: Site, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    show = "import os; print(*(os.environ.get(name) for name in ('REGION', 'API_KEY', 'COLOUR', 'RECONCILER_APP')))"
    given = {"REGION": "eu", "API_KEY": {"file": str(secret)}, "RECONCILER_APP": "another"}
    schedules = {"sync": {"command": ["python", "-c", show], "every": "1d", "env": given}}
    site.app("shop", env={"COLOUR": "green"}, schedules=schedules)
    site.start()
    site.await_settled("shop")
    before = site.pid("shop")
    assert site.cli("trigger", "shop", "sync").returncode == 0
    eventually(lambda: [task["state"] for task in listed(site)] == ["failed"], 20)
    assert str(secret) in listed(site)[0]["message"]
    secret.write_text("Tr0ub4dor-zebra\n")
    eventually(lambda: [text for _, kind, text in site.events("shop") if kind == "secrets"][-1:] == [READ_AGAIN], 20)
    assert site.cli("trigger", "shop", "sync").returncode == 0
    eventually(lambda: [task["state"] for task in listed(site)][:1] == ["succeeded"], 20)
    task = listed(site)[0]["id"]
    assert site.paths.task_log("shop", task).read_text() == "eu Tr0ub4dor-zebra green shop\n"
    assert "zebra" not in json.dumps(listed(site))
    assert site.pid("shop") == before


@pytest.mark.nightly
def test_a_task_of_which_a_locked_database_knows_nothing_is_followed_by_the_next_daemon(
    site: Site, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    words = ["sh", "-c", f"touch {begun}; sleep 5; exit 4", "Tr0ub4dor-zebra"]
    schedules = {"unknown": {"command": words, "at": "* * * * *"}}
    site.app("shop", env={"API_TOKEN": "Tr0ub4dor-zebra"}, schedules=schedules)
    site.app("idle", start="lazy")
    ahead_s, _ = before_a_minute(8.0)
    daemon = site.live(Cues(ahead_s=ahead_s))
    site.await_settled("shop")
    with sqlite3.connect(site.paths.database, isolation_level=None) as locked:
        locked.execute("BEGIN EXCLUSIVE")
        refused = run(site, "shop", "--detach", "--", "true")
        assert refused.returncode == 1
        assert "cannot be put on record, and so is not begun: database is locked" in refused.stderr
        eventually(begun.stat, 90)  # a minute later, where that of the clock was over before the app was settled
        site.end(daemon, signal.SIGKILL)
        locked.execute("ROLLBACK")
    site.live(Cues(ahead_s=ahead_s))

    eventually(lambda: any(task["name"] == "unknown" for task in listed(site)), 20)
    assert ended(site, "unknown")["message"] == "exit code 4"
    assert "zebra" not in json.dumps(listed(site))
    assert run(site, "idle", "--", "echo", "here").stdout == "here\n"
    assert site.told("idle")["state"] == "sleeping"


@pytest.mark.nightly
@pytest.mark.parametrize("pause_s", [0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3])
def test_no_task_runs_twice_or_is_lost_wherever_the_daemon_is_killed(
    pause_s: float, site: Site, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    site.app("shop")
    daemon = site.start()
    site.await_settled("shop")
    asked, asking = 0, list["subprocess.Popen[str]"]()
    for round_ in range(6):
        name = f"task-{round_}"
        while not is_on_record(site, name):  # a daemon that is just starting refuses
            one = subprocess.Popen(
                command(site, "shop", "--detach", "--name", name, "--", "sh", "-c", f"echo {name} >> {ran}"),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY,
            )  # fmt: skip
            asking.append(one)
            eventually(partial(answered, site, name, one), 30)
        asked += 1
        time.sleep(pause_s)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
        while asking:
            asking.pop().communicate(timeout=60)
        daemon = site.start()
        site.await_settled("shop")
        ended(site, name)
    for task in listed(site):
        assert task["state"] == "succeeded", task
    assert sorted(ran.read_text().split()) == sorted(f"task-{number}" for number in range(asked))


@pytest.mark.nightly
def test_a_gigabyte_without_a_line_leaves_a_bounded_log_and_a_daemon_of_the_same_size(site: Site) -> None:
    site.app("shop")
    daemon = site.execute()
    site.await_settled("shop")
    before = memory_of(daemon.pid)
    script = "import os\nblock = bytes(range(11, 256)) * 4281\nfor _ in range(1024): os.write(1, block)\nos._exit(7)"
    told = run(site, "shop", "--detach", "--name", "flood", "--", "python", "-c", script)
    assert told.returncode == 0, told.stderr
    most = before
    while named(site, "flood")["state"] in {"owed", "running"}:
        most = max(most, memory_of(daemon.pid))
    found = ended(site, "flood")
    assert (found["state"], found["message"]) == ("failed", "exit code 7")
    assert most - before < 8 << 20
    (log,) = site.paths.task_logs("shop").iterdir()
    said = log.read_bytes()
    assert len(said) <= 16 << 20
    (left_out,) = re.findall(rb"reconciler: (\d+) bytes are left out", said)
    assert int(left_out) > 1_000_000_000


def memory_of(pid: int) -> int:
    """The bytes that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
