"""Schedules of a real daemon: at their times, in order, and what people and other servers hear of them."""

import contextlib
import http.server
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from reconciler.control.socket import ask
from reconciler.notifications.targets.webhook import Webhook
from reconciler.planning.tasks.task import Task
from reconciler.state.schema import open_database
from reconciler.state.task_log import TaskLog
from tests.fakes.post_office import Hook, webhook
from tests.support.eventually import at_leisure, eventually
from tests.support.life import Cues, before_a_minute
from tests.support.site import Site

YEARLY = {"at": "0 4 1 1 *", "missed": "skip"}
PROMPT: dict[str, Any] = {"notify_delay_s": 0.0, "notify_every_s": 0.0}
_NOTES, _PINGS = "reconciler.planning.schedules.notes", "reconciler.tasks.pings"
# What takes minutes on a host is a moment here; a call that is not answered holds its thread for as long as the test.
HANGING = {f"{_PINGS}._WITHIN_S": 300.0}


def hasty() -> dict[str, float]:
    """Those of a moment, in which a task starts and ends on a busy host, too."""
    moment_s = at_leisure(2.0)
    return {f"{_NOTES}.LATE_AFTER_S": moment_s, f"{_NOTES}._LEAST_EXCESS_S": moment_s, f"{_PINGS}._FIRST_S": 0.01}


def tasks(site: Site) -> list[Task]:
    """Every task on record."""
    with contextlib.closing(open_database(site.paths.database, read_only=True)) as database:
        return TaskLog(database).newest(None, 5000)


def trigger(site: Site, schedule: str) -> str:
    return str(ask(site.paths.control, {"do": "trigger", "app": "shop", "schedule": schedule})["task"])


def has_ended(site: Site, id_: str) -> bool:
    return any(task.id == id_ and not task.is_open for task in tasks(site))


def run(site: Site, schedule: str) -> None:
    """Run a schedule out of turn, to its end."""
    eventually(partial(has_ended, site, trigger(site, schedule)))


@dataclass(slots=True)
class Pinged:
    """A server that is pinged: the paths of what it took, and the answers that come before 200."""

    port: int = 0
    taken: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def file(self, site: Site, name: str) -> dict[str, str]:
        """A file with a URL of the server, as `ping` of a manifest names it."""
        (site.root / name).write_text(f"http://127.0.0.1:{self.port}/{name}-s3cret\n")
        return {"file": str(site.root / name)}


@contextlib.contextmanager
def pinged() -> Iterator[Pinged]:
    here = Pinged()

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = here.answers.pop(0) if here.answers else 200
            if status == 200:
                here.taken.append(self.path.removeprefix("/").removesuffix("-s3cret"))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        here.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield here
        finally:
            server.shutdown()
            thread.join()


def told(hook: Hook) -> Counter[tuple[str, str]]:
    """How often which state of which schedule was in a message."""
    return Counter(
        (item["schedule"], item["state"]) for message in hook.taken for item in message["items"] if item["schedule"]
    )


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_failing_recovering_late_and_too_long_are_one_message_each_and_pings_are_tried_again(site: Site) -> None:
    fails, waits = site.root / "fails", site.root / "waits"
    fails.touch()
    with webhook() as hook, pinged() as server:
        server.answers = [503, 500]
        ping = {when: server.file(site, when) for when in ("start", "ok", "failed")}
        held = ["sh", "-c", f"while test -e {waits}; do sleep 0.05; done"]
        site.app("shop", probation="0s", schedules={
            "check": {"command": ["sh", "-c", f"echo disk is ill; test ! -e {fails}"], "ping": ping, **YEARLY},
            "sync": {"command": held, **YEARLY},
        })  # fmt: skip
        site.live(Cues(constants=hasty()), notifications=(Webhook(url=hook.url),), **PROMPT)
        site.await_settled("shop")

        run(site, "check")
        eventually(lambda: told(hook) == {("check", "failing"): 1})
        (failure,) = (item for message in hook.taken for item in message["items"] if item["schedule"])
        assert "exit code 1" in failure["message"]
        assert "disk is ill" in failure["message"]
        eventually(lambda: Counter(server.taken) == {"start": 1, "failed": 1})
        run(site, "check")  # the same again is no news
        fails.unlink()
        run(site, "check")
        eventually(lambda: Counter(server.taken) == {"start": 3, "failed": 2, "ok": 1})
        eventually(lambda: told(hook) == {("check", "failing"): 1, ("check", "healthy"): 1})

        for _ in range(3):
            run(site, "sync")
        waits.touch()
        first, second = trigger(site, "sync"), trigger(site, "sync")
        words = ("has not started within 5m of its time", "runs for much longer than")
        eventually(lambda: all(any(each in text for _, _, text in site.events("shop")) for each in words))
        waits.unlink()
        eventually(lambda: has_ended(site, first) and has_ended(site, second))
        eventually(lambda: told(hook)["sync", "healthy"] == 1)
    for each in words:
        assert sum(each in text for _, _, text in site.events("shop")) == 1
    assert {state for name, state in told(hook) if name == "sync"} == {"degraded", "healthy"}
    assert "s3cret" not in site.console.read_text()
    assert all("s3cret" not in text for _, _, text in site.events())


def test_a_host_that_answers_no_ping_delays_no_task_and_no_ping_of_another(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead, pinged() as server:
        (site.root / "dead").write_text(f"http://127.0.0.1:{dead.getsockname()[1]}/")
        nowhere = {when: {"file": str(site.root / "dead")} for when in ("start", "ok", "failed")}
        site.app("shop", probation="0s", schedules={
            "dead": {"command": "true", "ping": nowhere, **YEARLY},
            "well": {"command": "true", "ping": {"ok": server.file(site, "ok")}, **YEARLY},
        })  # fmt: skip
        site.live(Cues(constants=HANGING))
        site.await_settled("shop")
        for _ in range(10):
            run(site, "dead")
        run(site, "well")
        eventually(lambda: server.taken == ["ok"])


def test_a_schedule_of_a_sleeping_app_runs_at_its_time_and_the_app_sleeps_on(site: Site) -> None:
    port = site.app("shop", probation="0s", idle_after="300ms")
    first = site.live()
    eventually(lambda: site.told("shop")["state"] == "sleeping" and site.instances("shop") == [])
    site.end(first)
    ran = site.root / "ran"
    command = ["sh", "-c", f"echo $RECONCILER_PLANNED_AT >> {ran}"]
    schedules = {"sync": {"command": command, "at": "* * * * *"}}
    site.manifest("shop", port=port, probation="0s", idle_after="300ms", schedules=schedules)
    ahead_s, minute = before_a_minute(at_leisure(3.0))
    site.live(Cues(ahead_s=ahead_s))
    eventually(lambda: [task.state for task in tasks(site)] == ["succeeded"])
    assert ran.read_text().split() == [minute]
    assert site.told("shop")["state"] == "sleeping"
    assert site.instances("shop") == []
    assert [kind for _, kind, _ in site.events("shop")].count("started") == 1


@pytest.mark.parametrize(("apps", "each", "at_once"), [(3, 4, 2), pytest.param(20, 100, 8, marks=pytest.mark.nightly)])
def test_schedules_that_are_all_due_at_once_start_in_order_and_within_the_limit(
    site: Site, apps: int, each: int, at_once: int
) -> None:
    names = [f"app{number:02}" for number in range(apps)]
    ports = {name: site.app(name, probation="0s", start="lazy") for name in names}
    first = site.live()
    eventually(lambda: all(site.told(name)["state"] == "sleeping" for name in names), 120)
    site.end(first)
    ahead_s, minute = before_a_minute(at_leisure(5.0) + apps * each / 500)
    at = f"{int(minute[14:16])} {int(minute[11:13])} * * *"
    for name, port in ports.items():
        schedules = {f"s{number:03}": {"command": ["true"], "at": at} for number in range(each)}
        site.manifest(name, port=port, probation="0s", start="lazy", schedules=schedules)
    site.live(Cues(ahead_s=ahead_s), tasks_at_once=at_once)
    seen = [0]

    def are_over() -> bool:
        seen.append(ask(site.paths.control, {"do": "metrics"})["tasks_open"]["running"])
        found = tasks(site)
        return len(found) == apps * each and not any(task.is_open for task in found)

    eventually(are_over, 600)
    assert 0 < max(seen) <= at_once
    found = tasks(site)
    assert {task.state for task in found} == {"succeeded"}
    assert {task.schedule for task in found} == {f"s{number:03}" for number in range(each)}
    assert len({(task.app, task.schedule) for task in found}) == len(found) == apps * each
    begun = sorted(found, key=lambda task: task.started_monotonic or 0.0)
    overtaken = [
        sum(other.owed_at < task.owed_at for other in begun[number + 1 :]) for number, task in enumerate(begun)
    ]
    assert max(overtaken) < at_once, "one began before others that were owed sooner, and not together with them"
