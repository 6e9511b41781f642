"""Another version of the package takes the place of the one that started the apps: none of them notices."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from reconciler.control.socket import ask
from reconciler.state.migrations import NEWEST, OLDEST, copy_of, version_of
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get, is_gone
from tests.system.test_handover import ASGI
from tests.system.test_processes import WORKER, row

# Runs until its app's home has a file of that name.
LONG = ["sh", "-c", "while ! test -e $HOME/end; do sleep 0.05; done; exit 3"]
ASKED: Sequence[Mapping[str, object]] = (
    {"do": "task", "app": "blog", "command": LONG},
    {"do": "trigger", "app": "blog", "schedule": "sync"},
)


def installed(site: Site, version: str) -> Path:
    """A copy of the package that says it is of that version."""
    place = site.root / f"version-{version}"
    for part in ("reconciler", "schemas"):
        shutil.copytree(REPOSITORY / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "reconciler" / "_version.py").write_text(f'VERSION = "{version}"\n')
    return place


def run(site: Site, place: Path) -> "subprocess.Popen[str]":
    """The daemon of that copy."""
    with site.console.open("a") as console:
        daemon = subprocess.Popen(
            site.command("run"), cwd=place, stdout=console, stderr=console, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    site.daemons.append(daemon)
    return daemon


def version(place: Path, site: Site) -> str:
    asked = subprocess.run(
        [*site.command("status"), "--json"],
        cwd=place, env={**os.environ, "PYTHONPATH": str(place)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told: str = json.loads(asked.stdout)["daemon"]["version"]
    return told


def test_an_upgrade_restarts_no_app_and_needs_nothing_of_the_old_version(site: Site) -> None:
    worker = {"command": "python worker.py", "stop_timeout": "60s", "ready": {"after": "100ms"}}
    site.source("blog", worker=WORKER.replace("{version}", "1"))
    sync = {"command": LONG, "at": "0 4 1 1 *"}
    blog = site.app(
        "blog", health={"path": "/"}, probation="0s", processes={"worker": worker}, schedules={"sync": sync}
    )
    ports = {"blog": blog, "chat": a_port()}
    (site.root / "apps" / "chat").mkdir()
    site.save(site.root / "apps" / "chat" / "asgi.py", ASGI.replace("VERSION", "1"))
    site.manifest("chat", port=ports["chat"], probation="0s")
    old, new = installed(site, "1.0.0"), installed(site, "2.0.0")
    daemon = run(site, old)
    eventually(lambda: site.settled(*ports) and all(map(site.known_good, ports)))
    assert version(old, site) == "1.0.0"
    eventually(lambda: row(site)["running"] == 1)
    before, worked = site.pids(), row(site)["pids"]
    runs = begun_tasks(site)
    with under_load(ports["blog"]) as load, under_load(ports["chat"], clients=1) as chatter:
        site.end(daemon)
        shutil.rmtree(old)
        run(site, new)
        eventually(lambda: [kind for _, kind, _ in site.events()].count("adopted") == 3)
        eventually(lambda: site.settled(*ports))
        assert (row(site)["pids"], row(site)["running"]) == (worked, 1)
        assert begun_tasks(site, ask_for=()) == runs
        assert version(new, site) == "2.0.0"
        assert site.pids() == before
        load.await_more(20)
        chatter.await_more(20)
    assert (load.failed, chatter.failed) == ({}, {})
    tasks_end(site, runs)
    for (
        name,
        port,
    ) in ports.items():  # a worker that is started later is one of the old version's, and finds all it needs
        child = next(pid for pid in site.marked() if _parent(pid) == before[name])
        os.kill(child, signal.SIGKILL)
        eventually(partial(_is_replaced, child, port))
    assert site.pids() == before
    site.source("blog", "2")
    eventually(site.serves("blog", "2", ports["blog"]))
    eventually(lambda: is_gone(worked[0]) and row(site)["running"] == 1)


def begun_tasks(site: Site, ask_for: Sequence[Mapping[str, object]] = ASKED) -> dict[str, tuple[str, int | None]]:
    """Ask for tasks; return the kind and the process of each that runs, by its id, once all of them do."""
    for request in ask_for:
        ask(site.paths.control, dict(request))

    def found() -> dict[str, tuple[str, int | None]]:
        with contextlib.closing(sqlite3.connect(f"{site.paths.database.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT id, kind, pid FROM task WHERE state = 'running'").fetchall()
        assert len(rows) == len(ASKED)
        assert not any(pid is None or is_gone(pid) for _, _, pid in rows)
        return {id_: (kind, pid) for id_, kind, pid in rows}

    return eventually(found)


def tasks_end(site: Site, runs: Mapping[str, tuple[str, int | None]]) -> None:
    """Have the tasks end, and see that it is known how."""
    (site.paths.home("blog") / "end").touch()

    def known() -> bool:
        with contextlib.closing(sqlite3.connect(f"{site.paths.database.as_uri()}?mode=ro", uri=True)) as database:
            ended = database.execute("SELECT id, kind, pid FROM task WHERE state = 'failed' AND code = 3").fetchall()
        return {id_: (kind, pid) for id_, kind, pid in ended} == runs

    eventually(known)


def test_the_daemon_brings_an_older_state_database_up_to_date_and_keeps_a_copy(site: Site) -> None:
    file = site.paths.database
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript((REPOSITORY / "tests/databases/version-2.sql").read_text())
    key = site.paths.state / "key"
    key.write_text((REPOSITORY / "tests/databases/version-2.key").read_text())
    key.chmod(0o600)
    assert "was written by an older reconciler" in site.cli("status").stderr
    site.app("shop")
    site.start()
    eventually(lambda: _version(file) == NEWEST)
    site.await_settled("shop")
    assert copy_of(file, OLDEST).exists()
    assert "provisioned it" in [text for _, _, text in site.events()]


def _version(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        return version_of(database)


def _is_replaced(worker: int, port: int) -> bool:
    return is_gone(worker) and get(port) == "1"


def _parent(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 2 :].split()[1])
