"""Tasks and schedules whose daemon is killed, or has no disk or database, before each thing it does: each runs once."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from reconciler.control.requests import Refused
from reconciler.control.socket import NoAnswer, ask
from reconciler.planning.tasks.task import Task
from reconciler.state.schema import open_database
from reconciler.state.task_log import TaskLog
from tests.chaos.mounts import needs_mounts, small_disk
from tests.chaos.test_disk import living_on
from tests.support.eventually import eventually
from tests.support.life import Cues, before_a_minute, relieve
from tests.support.site import Site, is_gone
from tests.support.store import Store

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
QUICK: dict[str, Any] = {"retry_first_s": 0.1, "retry_cap_s": 0.2, "quiet_s": 0.01, "tasks_at_once": 4}
# The first thing that a daemon does about a task.
SINCE = "INTO task"
_LEAD_S = 2.0


def tasks(site: Site) -> list[Task]:
    """Every task on record."""
    with contextlib.closing(open_database(site.paths.database, read_only=True)) as database:
        return TaskLog(database).newest(None, 1000)


def none_is_open(site: Site) -> bool:
    return not any(task.is_open for task in tasks(site))


def nothing_is_left(site: Site) -> bool:
    return not any(site.paths.tasks.glob("*.result*"))


def is_dead_or(daemon: Any, check: Callable[[], object]) -> object:
    return not daemon.is_alive() or check()


def accepted(site: Site, daemon: Any, **request: Any) -> str:
    """The task that a daemon accepted; "" if it refused it for its database's sake, or died before it answered."""
    while daemon.is_alive():
        try:
            return str(ask(site.paths.control, request)["task"])
        except NoAnswer:
            continue
        except Refused as refused:
            if "on record" in str(refused):
                return ""
        except OSError:
            pass
        time.sleep(0.02)
    return ""


@dataclass(slots=True, kw_only=True)
class Asked:
    """An operator who asks each life for one task, which says its name."""

    site: Site
    names: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)

    def prepared(self) -> Cues:
        self.names.append(f"task-{len(self.names)}")
        return Cues(since=SINCE)

    def disturb(self, daemon: Any) -> None:
        command = ["sh", "-c", f"echo {self.names[-1]} >> {self.site.root / 'ran'}"]
        if accepted(self.site, daemon, do="task", app="shop", command=command, name=self.names[-1]):
            self.accepted.add(self.names[-1])

    def is_over(self) -> bool:
        """True once nothing is left to do about the last one."""
        known = {task.name for task in tasks(self.site)}
        return none_is_open(self.site) and (self.names[-1] in known or self.names[-1] not in self.accepted)

    def has_begun(self) -> bool:
        return self.names[-1] not in self.accepted or self.names[-1] in ran(self.site)

    def check(self) -> None:
        known = Counter(task.name for task in tasks(self.site))
        assert self.accepted <= known.keys(), "a task that was accepted is lost"
        assert Counter(ran(self.site)) == known
        assert {task.state for task in tasks(self.site)} == {"succeeded"}
        assert max(known.values()) == 1


@dataclass(slots=True, kw_only=True)
class Planned:
    """The host's clock, which lets an occurrence come in each life: it fails, and works when it is tried again."""

    site: Site
    minutes: list[str] = field(default_factory=list)
    next: float = 0.0

    def prepared(self) -> Cues:
        ahead_s, minute = before_a_minute(_LEAD_S, after=self.next)
        self.minutes.append(minute)
        self.next = ahead_s
        return Cues(since=SINCE, ahead_s=ahead_s)

    def disturb(self, daemon: Any) -> None:
        """Its time comes by itself."""

    def is_over(self) -> bool:
        return none_is_open(self.site) and ran(self.site).count(self.minutes[-1]) > 1

    def has_begun(self) -> bool:
        return self.minutes[-1] in ran(self.site)

    def check(self) -> None:
        found = Counter(ran(self.site))
        assert found.keys() >= set(self.minutes), "an occurrence is lost"
        assert set(found.values()) == {2}, "an occurrence ran more often than it is tried"
        states = Counter(task.state for task in tasks(self.site))
        assert states == dict.fromkeys(("failed", "succeeded"), len(found))


STORIES = ("asked", "planned")


def ran(site: Site) -> list[str]:
    """What tasks of the site wrote down."""
    file = site.root / "ran"
    return file.read_text().split() if file.exists() else []


def prepared(site: Site, story: str) -> Asked | Planned:
    """A host that has deployed its app, and has no daemon now."""
    port = site.app("shop", probation="0s")
    first = site.live(**QUICK)
    site.await_settled("shop")
    site.end(first, signal.SIGKILL)
    planned, file = "$RECONCILER_PLANNED_AT", site.root / "ran"
    twice = f"echo {planned} >> {file}; test $(grep -c {planned} {file}) = 2"
    if story == "planned":
        fields = {"at": "* * * * *", "retries": {"count": 1, "first": "100ms"}, "keep": 1000}
        site.manifest("shop", port=port, probation="0s", schedules={"sync": {"command": ["sh", "-c", twice], **fields}})
        return Planned(site=site)
    return Asked(site=site)


def lives(site: Site, about: Asked | Planned, step: int) -> Iterator[tuple[int, Cues]]:
    """An ever later effect, until there are not so many of them, and what is to happen in the life of it."""
    number = 1
    while True:
        site.console.write_text("")
        yield number, about.prepared()
        if not has_come(site, number):
            break
        number += step
    assert number > 2 * step
    print(f"{number - step} effects")


def has_come(site: Site, number: int) -> bool:
    return f"before effect {number}:" in site.console.read_text()


def is_in_trouble(about: Asked | Planned, number: int) -> bool:
    """True once what was asked for or planned has begun, and the trouble has, if there are so many effects."""
    return about.has_begun() and (has_come(about.site, number) or about.is_over())


@pytest.mark.parametrize("story", ["asked", pytest.param("planned", marks=pytest.mark.nightly)])
def test_a_task_whose_daemon_is_killed_before_each_thing_it_does_about_it_runs_once(site: Site, story: str) -> None:
    about = prepared(site, story)
    for number, cues in lives(site, about, 1 if NIGHTLY else 5):
        mortal = site.live(replace(cues, die_at=number), **QUICK)
        about.disturb(mortal)
        eventually(partial(is_dead_or, mortal, lambda: about.is_over() and nothing_is_left(site)), 60)
        site.end(mortal, signal.SIGKILL)
        heir = site.live(cues, **QUICK)
        eventually(lambda: about.is_over() and nothing_is_left(site), 60)
        site.end(heir, signal.SIGKILL)
    about.check()


@needs_mounts
@pytest.mark.nightly
@pytest.mark.parametrize("trouble", ["full", "locked"])
@pytest.mark.parametrize("story", STORIES)
def test_a_task_runs_once_whatever_the_daemon_was_doing_about_it_when_the_disk_was_full_or_the_database_locked(
    tmp_path: Path, store: Store, story: str, trouble: Literal["full", "locked"]
) -> None:
    with living_on(tmp_path, store, small_disk(tmp_path / "state")) as site:
        about = prepared(site, story)
        for number, cues in lives(site, about, 1):
            daemon = site.live(replace(cues, trouble_at=number, trouble=trouble), **QUICK)
            about.disturb(daemon)
            eventually(partial(is_in_trouble, about, number), 60)
            assert daemon.is_alive()
            if number % 2:
                site.end(daemon, signal.SIGKILL)
            relieve(site.state)
            if number % 2:
                daemon = site.live(cues, **QUICK)
            eventually(about.is_over, 60)
            site.end(daemon, signal.SIGKILL)
        about.check()


@pytest.mark.nightly
def test_a_task_that_an_operator_has_cancelled_ends_wherever_the_daemon_is_killed(site: Site) -> None:
    about = prepared(site, "asked")
    for number, cues in lives(site, about, 1):
        ready = site.live(**QUICK)
        id_ = accepted(site, ready, do="task", app="shop", command=["sleep", "600"])
        pid = eventually(lambda: tasks(site)[0].pid or 0)
        site.end(ready, signal.SIGKILL)
        mortal = site.live(replace(cues, die_at=number), **QUICK)
        cancelled = accepted(site, mortal, do="cancel", task=id_)
        eventually(partial(is_dead_or, mortal, lambda: none_is_open(site) and nothing_is_left(site)), 60)
        site.end(mortal, signal.SIGKILL)
        heir = site.live(**QUICK)
        if not cancelled and not none_is_open(site):
            accepted(site, heir, do="cancel", task=id_)
        eventually(partial(none_is_open, site), 60)
        assert is_gone(pid)
        assert (tasks(site)[0].id, tasks(site)[0].state) == (id_, "cancelled")
        site.end(heir, signal.SIGKILL)


@pytest.mark.nightly
def test_a_task_runs_once_while_one_daemon_hands_over_to_the_next(site: Site) -> None:
    chance = random.Random(4711)
    planned, asked = prepared(site, "planned"), Asked(site=site)
    assert isinstance(planned, Planned)
    for _ in range(12):
        cues = planned.prepared()
        asked.prepared()
        daemon = site.live(cues, **QUICK)
        began = time.monotonic()
        eventually(lambda daemon=daemon: is_ready(site, daemon))  # type: ignore[misc]
        while time.monotonic() < began + _LEAD_S + chance.uniform(-0.4, 0.4):
            time.sleep(0.01)
        os.kill(daemon.pid, signal.SIGTERM)
        heir = site.live(cues, **QUICK)  # refused for as long as the one before has the state directory
        asked.disturb(heir)
        while eventually(partial(is_over_or_refused, heir, planned, asked), 60) == "refused":
            heir = site.live(cues, **QUICK)
        site.end(daemon)
        site.end(heir)
    found = Counter(ran(site))
    assert found == {**dict.fromkeys(planned.minutes, 2), **dict.fromkeys(asked.accepted, 1)}


def is_ready(site: Site, daemon: Any) -> bool:
    return bool(daemon.is_alive() and ask(site.paths.control, {"do": "metrics"}))


def is_over_or_refused(daemon: Any, planned: Planned, asked: Asked) -> str:
    if not daemon.is_alive():
        return "refused"
    return "over" if planned.is_over() and asked.is_over() else ""
