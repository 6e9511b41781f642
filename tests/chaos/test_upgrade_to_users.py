"""Apps that run as root become isolated ones with users of their own: under load, whatever is killed meanwhile."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.isolation.app_users import AppUsers
from reconciler.state.paths import StatePaths
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import Load, under_load
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS
from tests.support.site import Site, get

NO_USERS = LACKS or AppUsers(StatePaths(state=Path("/")), range(70_000, 80_000)).lacks()
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(NO_USERS), reason=f"no users of apps here: {NO_USERS}")]

_EFFECTS = range(1, 110, 6)
_WRITES = """
import json, os, sqlite3

HOME = os.environ["HOME"]

def application(environ, start_response):
    with sqlite3.connect(HOME + "/counts.db", timeout=15) as database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (uid INTEGER)")
        database.execute("INSERT INTO seen VALUES (?)", (os.getuid(),))
    database.close()
    os.makedirs(HOME + "/days", exist_ok=True)
    with open(HOME + "/days/log", "a") as log:
        log.write("request\\n")
    with open(HOME + "/of-%d" % os.getuid(), "a") as own:
        own.write("x")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"uid": os.getuid(), "version": VERSION}).encode()]
"""


def save(site: Site, name: str, port: int, version: int, isolation: str) -> None:
    directory = site.root / "apps" / name
    directory.mkdir(exist_ok=True)
    site.save(directory / "wsgi.py", _WRITES.replace("VERSION", str(version)))
    site.manifest(name, port=port, isolation=isolation, probation="0s")


def user_of(port: int) -> int:
    return int(json.loads(get(port))["uid"])


def is_its_own(port: int) -> bool:
    return user_of(port) != os.geteuid()


def is_dead_or_its_own(daemon: Any, port: int) -> bool:
    return not daemon.is_alive() or is_its_own(port)


def owners(site: Site, name: str) -> set[int]:
    home = site.paths.home(name)
    return {path.lstat().st_uid for path in (home, *home.rglob("*"))}


def is_settled(site: Site, name: str, user: int) -> bool:
    home = site.paths.home(name)
    assert owners(site, name) == {user}
    assert home.stat().st_mode & 0o7777 == 0o700
    return True


def loads(ports: Iterator[int], stack: ExitStack) -> list[Load]:
    return [stack.enter_context(under_load(port, clients=1, pause_s=0.05)) for port in ports]


def upgraded(site: Site, many: int) -> None:
    ports = {f"app-{number}": a_port() for number in range(many)}
    for name, port in ports.items():
        save(site, name, port, 0, "none")
    site.live()
    site.await_settled(*ports)
    with ExitStack() as stack:
        under = loads(iter(ports.values()), stack)
        for load in under:
            load.await_more(3)
        for name, port in ports.items():
            save(site, name, port, 1, "strict")
        for port in ports.values():
            eventually(partial(is_its_own, port), 120)
        site.await_settled(*ports)
        for load in under:
            load.await_more(5)
    assert [load.failed for load in under if load.failed] == []
    users = {name: user_of(port) for name, port in ports.items()}
    assert len(set(users.values())) == many
    for name, user in users.items():
        # What the one of root has written in its last moments is given as well.
        eventually(partial(is_settled, site, name, user), 20)


def test_running_apps_become_isolated_under_load_without_a_lost_request(site: Site) -> None:
    upgraded(site, 2)


@pytest.mark.nightly
def test_fifty_running_apps_become_isolated_under_load_without_a_lost_request(site: Site) -> None:
    upgraded(site, 50)


@pytest.mark.nightly
def test_a_daemon_killed_at_any_moment_of_an_upgrade_is_carried_on_by_the_next(site: Site) -> None:
    port = a_port()
    save(site, "shop", port, 0, "none")
    first = site.live()
    eventually(lambda: user_of(port) == os.geteuid(), 60)
    site.end(first)
    killed = 0
    with under_load(port, clients=1, pause_s=0.02) as load:
        for version, number in enumerate(_EFFECTS, start=1):
            save(site, "shop", port, 2 * version - 1, "strict")
            mortal = site.live(Cues(die_at=number))
            eventually(partial(is_dead_or_its_own, mortal, port), 60)
            killed += not mortal.is_alive()
            mortal.kill()
            mortal.join(60)
            heir = site.live()
            eventually(partial(is_its_own, port), 60)
            site.await_settled("shop")
            user = user_of(port)
            assert AppUsers(site.paths, range(70_000, 80_000)).known("shop") == user
            eventually(partial(is_settled, site, "shop", user), 20)
            save(site, "shop", port, 2 * version, "none")
            eventually(lambda: user_of(port) == os.geteuid(), 60)
            site.await_settled("shop")
            site.end(heir, signal.SIGKILL)
    assert load.failed == {}
    assert killed > len(_EFFECTS) // 2
