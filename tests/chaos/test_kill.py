"""kill -9 of anything, at any moment: the door stays open, and it ends as asked with nothing left behind."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.planning.apps.app import CrashPolicy
from reconciler.serving.marks import REVISION_MARK, marked
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import Site, get, is_gone

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
AT_ONCE = CrashPolicy(first_s=0.05, cap_s=0.1, good_run_s=0.0)


def test_a_master_killed_twenty_times_refuses_no_connection(site: Site) -> None:
    port = site.app("blog", workers=2)
    site.live(crash=AT_ONCE)
    eventually(site.serves("blog", "1", port))
    with under_load(port) as load:
        for _ in range(20):
            load.await_more(5)
            before = site.pid("blog")
            os.kill(before, signal.SIGKILL)
            site.await_successor("blog", before)
    assert set(load.failed) <= {"reset"}, load.outcomes
    assert load.failed.get("reset", 0) <= 20 * 2 * 2
    eventually(lambda: len(site.marked()) == 3)
    assert site.told("blog")["restarts"] == 20


def test_a_worker_killed_again_and_again_refuses_no_connection(site: Site) -> None:
    port = site.app("blog", workers=2, probation="0s")  # on probation a worker that dies is the release's fault
    site.live()
    eventually(lambda: site.serves("blog", "1", port)() and site.known_good("blog"))
    master = site.pid("blog")
    with under_load(port) as load:
        for _ in range(10):
            load.await_more(5)
            victim = min(site.marked() - {master})
            os.kill(victim, signal.SIGKILL)
            eventually(partial(_is_replaced, site, victim))
    assert set(load.failed) <= {"reset"}, load.outcomes
    assert site.pid("blog") == master


def _is_replaced(site: Site, worker: int) -> bool:
    return is_gone(worker) and len(site.marked()) == 3


def test_a_master_that_is_killed_while_its_successor_starts_leaves_the_door_open(site: Site) -> None:
    port = site.app("blog")
    site.live(crash=AT_ONCE)
    eventually(site.serves("blog", "1", port))
    with under_load(port) as load:
        load.await_more(5)
        before = site.pid("blog")
        site.source("blog", "2")
        eventually(lambda: len(site.instances("blog")) == 2)
        os.kill(before, signal.SIGKILL)
        eventually(site.serves("blog", "2", port))
    assert set(load.failed) <= {"reset"}, load.outcomes


def test_a_frozen_master_is_handed_over_and_ended_in_time(site: Site) -> None:
    port = site.app("blog", stop_timeout="1s")
    site.live()
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    os.kill(before, signal.SIGSTOP)
    site.app("blog", "2", port=port, stop_timeout="1s")
    eventually(site.serves("blog", "2", port))
    assert is_gone(before)
    eventually(lambda: len(site.marked()) == 2)


# The daemon, at random moments


def test_a_daemon_killed_ten_times_during_each_of_many_deploys_ends_as_asked(site: Site) -> None:
    chance, deploys = random.Random(4711), 20 if NIGHTLY else 2
    ports = {name: site.app(name) for name in ("steady", "one", "two", "three")}
    site.end(_settled(site, *ports), signal.SIGKILL)
    steady, versions = site.pid("steady"), dict.fromkeys(ports, "1")
    with under_load(ports["steady"], clients=1) as load:
        for deploy in range(deploys):
            for name in chance.sample(["one", "two", "three"], 2):
                versions[name] = f"{deploy}-{name}"
                ports[name] = _edit(site, name, versions[name], ports[name], chance)
            for _ in range(10):
                daemon = site.live(retry_first_s=0.1, retry_cap_s=0.2, crash=AT_ONCE, quiet_s=0.01)
                _some_progress(site, chance)
                site.end(daemon, signal.SIGKILL)
                assert max(_masters(site).values(), default=0) <= 1, "two masters of one revision"
        daemon = _settled(site, *ports)
        for name, port in ports.items():
            eventually(site.serves(name, versions[name], port), 60)
        site.await_settled(*ports)
    assert load.failed == {}
    assert site.pid("steady") == steady
    assert max(Counter(text.split()[3] for _, kind, text in site.events("steady") if kind == "ready").values()) == 1
    nothing_is_left_behind(site, *ports)
    site.end(daemon)


def _edit(site: Site, name: str, version: str, port: int, chance: random.Random) -> int:
    """A deploy: new code, and perhaps another configuration or another port."""
    fields: dict[str, Any] = {"env": {"DEPLOY": version}} if chance.random() < 0.5 else {}
    if chance.random() < 0.3:
        return site.app(name, version, **fields)
    return site.app(name, version, port=port, **fields)


def _some_progress(site: Site, chance: random.Random) -> None:
    """Let the journal grow by a few lines, and then a little time pass; not for ever when there is nothing to do."""
    more, deadline = len(site.events()) + chance.randrange(6), time.monotonic() + 0.3
    while len(site.events()) < more and time.monotonic() < deadline:
        pass
    until = time.monotonic() + chance.random() ** 2 * 0.15
    while time.monotonic() < until:
        pass


def _masters(site: Site) -> Counter[tuple[str, str]]:
    """How many live masters there are of each app and revision."""
    found: Counter[tuple[str, str]] = Counter()
    for process in marked(site.state_id() or ""):
        if process.leads:
            try:
                block = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            found[process.app, next((v.decode() for v in block if v.startswith(REVISION_MARK.encode())), "")] += 1
    return found


# The daemon, at every thing it does that lasts


def deploy(site: Site, number: int) -> Callable[[], object]:
    """New code and a new configuration for an app that serves."""
    file = site.manifests / "blog.yaml"
    port = yaml.safe_load(file.read_text())["port"] if file.exists() else a_port()
    site.app("blog", f"v{number}", port=port, env={"NUMBER": str(number)}, probation="0s")
    return lambda: site.serves("blog", f"v{number}", port)() and _tidy(site, "blog")


def replace(site: Site, number: int) -> Callable[[], object]:
    """One app goes and another comes."""
    for old in site.manifests.iterdir():
        old.unlink()
    name = f"app{number}"
    port = site.app(name, name)

    def done() -> bool:
        return (
            [row["name"] for row in site.status()["apps"]] == [name]
            and site.serves(name, name, port)()
            and _tidy(site, name)
        )

    return done


@pytest.mark.parametrize("story", [deploy, pytest.param(replace, marks=pytest.mark.nightly)])
def test_a_daemon_killed_before_each_thing_it_does_is_made_good_by_the_next(
    site: Site, story: Callable[[Site, int], Callable[[], object]]
) -> None:
    quick: dict[str, Any] = {"retry_first_s": 0.1, "retry_cap_s": 0.2, "crash": AT_ONCE, "quiet_s": 0.01}
    number, step, killed = 1, 1 if NIGHTLY else 23, 0
    while True:
        done = story(site, number)
        mortal = site.live(Cues(die_at=number), **quick)
        eventually(partial(_is_dead_or, done, mortal), 60)
        if mortal.is_alive():
            break
        killed += 1
        assert max(_masters(site).values(), default=0) <= 1
        heir = site.live(**quick)
        eventually(done, 60)
        site.end(heir, signal.SIGKILL)
        number += step
    assert killed > 3
    print(f"killed {killed} times, before effects up to {number - step}")


def _is_dead_or(done: Callable[[], object], daemon: Any) -> object:
    return not daemon.is_alive() or done()


def nothing_is_left_behind(site: Site, *names: str) -> None:
    eventually(lambda: _tidy(site, *names))


def _tidy(site: Site, *names: str) -> bool:
    """One instance of each app, the processes of those only, and no draft, configuration or word of another."""
    alive = {record.app: record for record in site.instances()}
    assert sorted(alive) == sorted(names), f"instances of {sorted(alive)}"
    assert len(site.instances()) == len(names)
    known = {process.instance for process in marked(site.state_id() or "")}
    assert known == {record.id for record in alive.values()}, "processes of another instance"
    assert sorted(directory.name for directory in site.paths.apps.iterdir()) == sorted(names)
    for name, record in alive.items():
        assert [entry.name for entry in site.paths.readiness(name).iterdir()] == [record.id]
        kept = [entry.name for entry in site.paths.revisions(name).iterdir()]
        assert record.revision in kept
        assert len(kept) <= 2, kept
        assert len(list(site.paths.builds(name).glob("[!.]*"))) <= 5
    drafts = [path for folder in ("apps/*/builds", "environments") for path in site.state.glob(f"{folder}/.*")]
    assert drafts == []
    return True


def test_of_twenty_edits_without_a_pause_the_last_one_is_served(site: Site) -> None:
    port = site.app("blog", "0")
    site.live(quiet_s=0.01)
    eventually(site.serves("blog", "0", port))
    with under_load(port) as load:
        for number in range(1, 21):
            site.app("blog", str(number), port=port, env={"NUMBER": str(number)})
            load.await_more(3)
        eventually(site.serves("blog", "20", port))
    assert load.failed == {}
    assert get(port) == "20"
    nothing_is_left_behind(site, "blog")


def _settled(site: Site, *names: str) -> Any:
    daemon = site.live(retry_first_s=0.1, retry_cap_s=0.2, crash=AT_ONCE, quiet_s=0.01)
    site.await_settled(*names, within=60)
    return daemon
