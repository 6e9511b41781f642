"""Every job that a site hands to a queue is done once, over twenty deploys: by five queue libraries, on real brokers.

The site enqueues; its worker says when a job begins and when it is done. Each deploy replaces both.
"""

import itertools
import json
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers.redis import redis_server
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get

pytestmark = [pytest.mark.network, pytest.mark.nightly]

PROJECTS = REPOSITORY / "tests/projects/queues"
DEPLOYS = 20
# Jobs take 1 to 5 seconds: each worker below does five at a time, and three are what comes in.
EVERY_S = 1.0
MOST_DROPPED = 3
WORKERS: dict[str, dict[str, Any]] = {
    "celery": {"command": "celery -A tasks worker --concurrency 5 --loglevel info"},
    "rq": {"command": "rq worker --maintenance-interval 10", "count": 5},
    "dramatiq": {"command": "dramatiq tasks --processes 1 --threads 5"},
    "huey": {"command": "huey_consumer tasks.queue --workers 5"},
    "django_tasks": {"command": "python manage.py db_worker --interval 0.2", "count": 5},
}


@dataclass(kw_only=True)
class Jobs:
    """What was enqueued, and what the workers say of it."""

    port: int
    results: Path
    enqueued: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _ending: threading.Event = field(default_factory=threading.Event)

    def enqueue(self, seconds: float) -> str:
        """Hand one job to the queue, by a request to the site."""
        name = f"job-{next(self._numbers)}"
        try:
            get(self.port, f"/{name}/{seconds}", within=60)
        except (AssertionError, OSError) as error:
            self.failed.append(f"{name}: {error}")
        else:
            self.enqueued.append(name)
        return name

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Enqueue steadily until the block is left."""

        def enqueue() -> None:
            for number in itertools.count():
                if self._ending.wait(EVERY_S):
                    return
                self.enqueue(1 + number * 7 % 41 / 10)

        thread = threading.Thread(target=enqueue)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join()

    def said(self, what: str) -> Counter[str]:
        return Counter(name for each, name, _ in self._lines() if each == what)

    def versions(self, what: str = "finished") -> Counter[str]:
        return Counter(version for each, _, version in self._lines() if each == what)

    def version_of(self, name: str) -> str | None:
        return next((version for each, job, version in self._lines() if (each, job) == ("finished", name)), None)

    def _lines(self) -> Iterator[tuple[str, str, str]]:
        if self.results.exists():
            for line in self.results.read_text().splitlines():
                what, name, version, _ = line.split()
                yield what, name, version


def deploy(site: Site, version: str) -> None:
    """Save new code, and wait until the site is of it and so are the workers that go on."""
    site.save(site.root / "apps/shop/version", version)
    eventually(lambda: get_version(site) == version and site.settled("shop") and replaced(site), 120)


def replaced(site: Site) -> bool:
    """Whether every worker that was not told to stop runs what the site does, and is up."""
    told = site.told("shop")
    (worker,) = told["processes"]
    return bool(worker["state"] == "running" and worker["running"] == worker["desired"] and not worker["starting"])


def get_version(site: Site) -> str:
    return get(int(site.told("shop")["port"]))


@contextmanager
def shop(site: Site, library: str, **process: Any) -> Iterator[Jobs]:
    """A site with workers of a library, served by a daemon, and its broker."""
    source = site.root / "apps/shop"
    shutil.copytree(PROJECTS / library, source, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("site.py", "work.py"):
        shutil.copy(PROJECTS / file, source / ("wsgi.py" if file == "site.py" else file))
    (source / "version").write_text("1")
    jobs = Jobs(port=a_port(), results=site.root / "results")
    env = {"RESULTS": str(jobs.results), "QUEUE": str(site.root / "queue.sqlite"), "PYTHONUNBUFFERED": "1"}
    release = {"release": "python manage.py migrate"} if (source / "manage.py").exists() else {}
    with redis_server() as server:
        with server.connect() as admin:
            admin.execute_command("ACL", "SETUSER", "default", "nopass")
        env["BROKER"] = env["RQ_REDIS_URL"] = f"redis://127.0.0.1:{server.port}/0"
        worker = {"stop_timeout": "60s", "ready": {"after": "1s"}, **WORKERS[library], **process}
        site.manifest("shop", port=jobs.port, threads=4, env=env, processes={"worker": worker}, **release)
        site.start()
        eventually(lambda: get_version(site) == "1" and site.settled("shop"), 180)
        yield jobs
        site.close()


def settled(jobs: Jobs, library: str, site: Site) -> list[str]:
    """Raise AssertionError until all jobs are finished; return those that a worker of django-tasks has dropped itself.

    It exits at a SIGTERM that comes between its claim of a job and the beginning of it, and nothing returns that job.
    """
    missing = set(jobs.enqueued) - jobs.said("finished").keys()
    if missing and library == "django_tasks":
        with closing(sqlite3.connect(site.root / "queue.sqlite")) as database:
            rows = database.execute(
                "SELECT args_kwargs FROM django_tasks_database_dbtaskresult WHERE status = 'RUNNING'"
            )
            claimed = {json.loads(text)["args"][0] for (text,) in rows}
        assert missing == claimed - jobs.said("began").keys()
        return sorted(missing)
    assert not missing
    return []


@pytest.mark.parametrize("library", WORKERS)
def test_each_job_is_done_once_over_twenty_deploys(site: Site, library: str) -> None:
    with shop(site, library) as jobs:
        with jobs.coming():
            for version in map(str, range(2, DEPLOYS + 2)):
                deploy(site, version)
                eventually(lambda version=version: jobs.versions("began")[version], 60)  # type: ignore[misc]
        expected = Counter(jobs.enqueued)
        dropped: list[str] = []

        def all_settled() -> bool:
            dropped[:] = settled(jobs, library, site)
            return True

        eventually(all_settled, 180)
        assert len(dropped) <= MOST_DROPPED
        expected -= Counter(dropped)
        time.sleep(2)  # a job that was done twice would be done about now
        print(f"{library}: {len(jobs.enqueued)} jobs, by version {dict(jobs.versions())}")
        assert jobs.failed == []
        assert jobs.said("finished") == expected
        assert jobs.said("began") == expected


def test_a_long_job_outlives_three_deploys(site: Site) -> None:
    """The draining worker finishes it; what comes meanwhile is done by the new code, but for what Redis hands to one.

    celery keeps a job that Redis gives it in the second after the signal until its own are done, and hands it back.
    """
    with shop(site, "celery", stop_timeout="10m") as jobs:
        long = jobs.enqueue(45)
        eventually(lambda: jobs.said("began")[long])
        for version in ("2", "3", "4"):
            deploy(site, version)
            eventually(lambda version=version: is_done_at_once(jobs, version), 60)  # type: ignore[misc]
            assert jobs.version_of(long) is None
        assert eventually(lambda: jobs.version_of(long), 60) == "1"
        eventually(lambda: jobs.said("finished") == Counter(jobs.enqueued), 60)
        assert jobs.said("began") == Counter(jobs.enqueued)
        assert jobs.failed == []


def is_done_at_once(jobs: Jobs, version: str) -> bool:
    """Whether a job that comes now is done, by this version, within a few seconds."""
    job = jobs.enqueue(0.1)
    return eventually(lambda: jobs.version_of(job), 3) == version
