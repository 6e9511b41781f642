"""A state directory and running apps of an earlier commit are taken over: nothing is restarted, nothing is lost."""

import contextlib
import json
import os
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from reconciler.state.migrations import NEWEST, version_of
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, WSGI, Site, get
from tests.system.test_processes import WORKER
from tests.system.test_upgrade import LONG, begun_tasks, tasks_end

# The last commit whose revision ids depend on the number of workers, and whose services are named by a prefix.
EARLIER = "75b705b2fd9fcb007c4761e3e6c017af2e21951c"

# The last commit whose database has a schema that is one version behind.
SCHEMA_BEFORE = "1435df9d66bc0575ada0746c750793d03e0e6932"


class Earlier:
    """That commit's package, unpacked beside the site and run against the site's state directory."""

    def __init__(self, site: Site, commit: str = EARLIER) -> None:
        self._site = site
        self._place = site.root / "earlier"
        self._place.mkdir()
        packed = subprocess.run(
            ["git", "archive", "--format=tar", commit, "reconciler", "schemas"],
            cwd=REPOSITORY, capture_output=True, check=False,
        )  # fmt: skip
        if packed.returncode:
            pytest.skip(f"commit {commit} is not in this checkout")
        with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
            archive.extractall(self._place, filter="data")
        (self._place / "reconciler" / "_version.py").write_text('VERSION = "0.0"\n')

    def run(self, *words: str) -> str:
        done = subprocess.run(
            self._site.command(*words), cwd=self._place, env=self._env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> "subprocess.Popen[str]":
        with self._site.console.open("a") as console:
            daemon = subprocess.Popen(
                self._site.command("run"), cwd=self._place, env=self._env, stdout=console, stderr=console, text=True,
                start_new_session=True,
            )  # fmt: skip
        self._site.daemons.append(daemon)
        return daemon

    def states(self) -> dict[str, str]:
        """The state of every app, as that commit's `status` prints it."""
        apps: list[dict[str, Any]] = json.loads(self.run("status", "--json"))["apps"]
        return {app["name"]: app["state"] for app in apps}

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self._place), "PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def stored(site: Site) -> Iterator[sqlite3.Connection]:
    """The state database as a stranger reads it, whatever its version."""
    with contextlib.closing(sqlite3.connect(f"{site.paths.database.as_uri()}?mode=ro", uri=True)) as database:
        yield database


def masters(site: Site) -> set[tuple[str, int]]:
    """The instances that serve: a candidate that is not ready comes and goes with each try of a failing revision."""
    with stored(site) as database:
        return set(
            database.execute("SELECT app, pid FROM instance WHERE stopping_since IS NULL AND ready_at IS NOT NULL")
        )


def known_good(site: Site, app: str) -> int:
    """How many revisions of an app that commit's daemon knows to be good."""
    with stored(site) as database:
        row = database.execute("SELECT value FROM history WHERE app = ? AND what = 'proven'", (app,)).fetchone()
    return len(json.loads(row[0])) if row else 0


def texts(site: Site) -> list[tuple[int, float, str, str]]:
    with stored(site) as database:
        return database.execute("SELECT id, at, text, cause FROM event ORDER BY id").fetchall()


def brought_up_to_date(site: Site) -> bool:
    with stored(site) as database:
        return version_of(database) == NEWEST


def states(site: Site) -> dict[str, str]:
    return {row["name"]: row["state"] for row in site.status()["apps"]}


def workers(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return len(children)


def test_nothing_is_restarted_and_nothing_lost_when_the_code_before_is_replaced(site: Site) -> None:
    earlier = Earlier(site)
    ports = {name: a_port() for name in ("blog", "shop", "back", "halted", "data", "broken", "lazy")}
    site.save(site.root / "word", "from a file\n")
    site.save(site.manifests / "db.yaml", "kind: service\nname: db\ntype: sqlite\n")
    site.app("blog", port=ports["blog"], workers=3, health={"path": "/"}, probation="0s")
    site.app("shop", port=ports["shop"], probation="0s")
    site.app("back", port=ports["back"], workers=2, probation="0s")
    site.app("halted", port=ports["halted"], probation="0s")
    word = {"WORD": {"file": "../word"}}
    site.app("data", port=ports["data"], workers=2, probation="0s", services=["db"], env=word)
    site.app("broken", port=ports["broken"], workers=2, probation="0s")
    site.app("lazy", port=ports["lazy"], start="lazy", probation="0s")
    daemon = earlier.start()
    awake = {name for name in ports if name != "lazy"}
    eventually(lambda: all(known_good(site, name) for name in awake), 60)
    eventually(lambda: earlier.states()["lazy"] == "sleeping")
    site.source("back", "2")
    eventually(lambda: known_good(site, "back") == 2)
    earlier.run("rollback", "back")
    earlier.run("stop", "halted")
    site.save(site.root / "apps" / "broken" / "wsgi.py", f"{WSGI}\nraise RuntimeError('no')\n")
    wanted = dict.fromkeys(ports, "running") | {"halted": "stopped", "broken": "degraded", "lazy": "sleeping"}
    eventually(lambda: earlier.states() == wanted and get(ports["back"]) == "1", 60)
    before, pids = masters(site), dict(masters(site))
    assert sorted(app for app, _ in before) == sorted(awake - {"halted"})

    with under_load(ports["blog"]) as load, under_load(ports["data"], clients=1) as data:
        site.end(daemon)
        happened = texts(site)
        site.start()
        eventually(lambda: brought_up_to_date(site))
        eventually(lambda: [kind for _, kind, _ in site.events()].count("adopted") == len(before))
        eventually(lambda: states(site) == wanted and site.cli("plan", "blog").returncode == 0, 60)
        load.await_more(20)
        data.await_more(20)
    assert (load.failed, data.failed) == ({}, {})
    assert masters(site) == before, "an app was restarted"
    assert texts(site)[: len(happened)] == happened, "an event was lost"
    assert [kind for app, kind, _ in site.events() if app == "service db"][:1] == ["provisioned"]
    kinds = {kind for _, kind, _ in site.events()}
    assert not kinds & {"wish", "died", "asleep", "well", "unwell"}

    assert get(ports["back"]) == "1", "the operator's rollback ended"
    assert get(ports["lazy"]) == "1"
    there = json.loads(get(ports["data"], "/env"))
    assert there["WORD"] == "from a file"
    assert "db" in there["VCAP_SERVICES"]

    site.manifest("blog", port=ports["blog"], workers=5, health={"path": "/"}, probation="0s")
    eventually(lambda: workers(pids["blog"]) == 5)
    eventually(lambda: site.settled("blog"))
    assert dict(masters(site))["blog"] == pids["blog"], "scaling started another instance"


def test_a_worker_a_task_and_an_occurrence_that_run_are_taken_over_with_the_schema_before(site: Site) -> None:
    earlier = Earlier(site, SCHEMA_BEFORE)
    worker = {"command": "python worker.py", "ready": {"after": "100ms"}}
    sync = {"command": LONG, "at": "0 4 1 1 *"}
    site.source("blog", worker=WORKER.replace("{version}", "1"))
    site.app("blog", probation="0s", processes={"worker": worker}, schedules={"sync": sync})
    daemon = earlier.start()
    eventually(lambda: known_good(site, "blog"), 60)
    before = eventually(lambda: instances(site) if len(instances(site)) == 2 else set())
    runs = begun_tasks(site)
    with stored(site) as database:
        assert version_of(database) < NEWEST
    site.end(daemon)

    site.start()
    eventually(lambda: brought_up_to_date(site))
    assert begun_tasks(site, ask_for=()) == runs
    site.await_settled("blog")
    assert instances(site) == before
    tasks_end(site, runs)


def instances(site: Site) -> set[tuple[str, int]]:
    """What runs of each app, its processes as well."""
    with stored(site) as database:
        return set(database.execute("SELECT process, pid FROM instance WHERE ready_at IS NOT NULL"))
