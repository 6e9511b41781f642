"""Canaries on a full disk, under a clock that jumps, and without their records: decided as asked all the same."""

import os
import signal
from pathlib import Path

import pytest

from tests.chaos.mounts import fill, needs_mounts, small_disk
from tests.chaos.test_disk import living_on
from tests.support.canaries import answers_of, begun, is_canary, keeper, kinds, left_amid_a_canary, master, save
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.site import Site
from tests.support.store import Store

pytestmark = [pytest.mark.system, pytest.mark.nightly]


@needs_mounts
@pytest.mark.parametrize(("command", "last"), [("abort", "1"), ("promote", "2")])
def test_on_a_full_disk_an_operator_decides_all_the_same(tmp_path: Path, store: Store, command: str, last: str) -> None:
    with living_on(tmp_path, store, small_disk(tmp_path / "state")) as site:
        _decided_on_a_full_disk(site, command, last)


def _decided_on_a_full_disk(site: Site, command: str, last: str) -> None:
    port = begun(site, settings={"retry_first_s": 0.1, "retry_cap_s": 0.2})
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        ballast = fill(site.state)
        told = site.cli("status", "shop")
        assert "canary 50%" in told.stdout, told.stdout + told.stderr
        done = site.cli(command, "shop")
        print(done.returncode, done.stdout, done.stderr)
        other = {"1": "2", "2": "1"}[last]

        def gone() -> bool:
            before = load.bodies[other]
            answers_of(load, last, 50)
            return load.bodies[other] == before

        eventually(gone, 60)
        ballast.unlink()
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 60)
        answers_of(load, last, 20)
    assert load.failed == {}
    assert kinds(site)[-1] == {"abort": "aborted", "promote": "promoted"}[command]


@needs_mounts
def test_on_a_full_disk_one_that_fails_is_taken_away_all_the_same(tmp_path: Path, store: Store) -> None:
    with living_on(tmp_path, store, small_disk(tmp_path / "state")) as site:
        _taken_away_on_a_full_disk(site)


def _taken_away_on_a_full_disk(site: Site) -> None:
    port = begun(site, share="20%", settings={"retry_first_s": 0.1, "retry_cap_s": 0.2})
    with under_load(port) as load:
        flag = site.root / "bad"
        site.save(site.root / "apps/shop/wsgi.py", _SOON_BAD.replace("FLAG", str(flag)))
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        ballast = fill(site.state)
        flag.touch()

        def gone() -> bool:
            before = sum(load.failed.values())
            answers_of(load, "1", 100)
            return sum(load.failed.values()) == before > 0

        eventually(gone, 60)
        ballast.unlink()
        eventually(lambda: len(site.instances("shop")) == 1 and site.told("shop")["state"] == "degraded", 60)
        answers_of(load, "1", 20)
    assert {status.partition(" ")[2] for status in load.failed} == {"500 No"}
    assert "it fails more often" in site.told("shop")["message"]


_SOON_BAD = """
import os

def application(environ, start_response):
    bad = os.path.exists("FLAG")
    start_response("500 No" if bad else "200 OK", [("Content-Type", "text/plain")])
    return [b"2"]
"""


def test_a_clock_that_jumps_neither_ends_a_step_nor_keeps_it(site: Site) -> None:
    port = begun(site, settings=None)
    site.end(site.daemons[-1])
    daemon = site.live(Cues(jumping=True))
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        load.await_more(1000)
        assert is_canary(site), "its hour is not over"
        site.end(daemon, signal.SIGKILL)
        site.live(Cues(ahead_s=-86400.0))
        eventually(lambda: site.status()["daemon"]["running"], 30)
        load.await_more(500)
        eventually(lambda: is_canary(site), 30)
        site.manifest(
            "shop", port=port, probation="0s", workers=2, stop_timeout="5s",
            canary={"share": "50%", "for": "2s", "requests": 1},
        )  # fmt: skip
        eventually(lambda: "promoted" in kinds(site), 60)
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 60)
    assert load.failed == {}


@pytest.mark.parametrize("both", [False, True], ids=("the daemon", "the daemon and the keeper"))
def test_a_canary_whose_records_are_lost_is_found_and_begins_with_its_first_share(site: Site, both: bool) -> None:
    port = begun(site, share=["20%", "50%"])
    with under_load(port) as load:
        masters = left_amid_a_canary(site, load, both=both)
        for file in site.state.glob("reconciler.db*"):
            file.unlink()
        answers_of(load, "1")
        answers_of(load, "2")
        site.live()
        eventually(lambda: kinds(site) == ["canary"] and is_canary(site), 60)
        assert [record.pid for record in site.instances("shop")] == masters
        answers_of(load, "1", 50)
        answers_of(load, "2", 20)
        assert site.cli("promote", "shop").returncode == 0
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 60)
        answers_of(load, "2", 50)
        save(site, "3")
        answers_of(load, "3")
        eventually(lambda: is_canary(site), 30)
        assert site.cli("abort", "shop").returncode == 0
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 60)
        answers_of(load, "2", 50)
    assert load.failed == {}


@pytest.mark.parametrize("both", [False, True], ids=("the keeper lives", "the keeper is killed, too"))
@pytest.mark.parametrize("oldest", [True, False], ids=("the one before", "the canary"))
def test_whatever_else_dies_with_the_records_the_other_release_has_all_clients(
    site: Site, oldest: bool, both: bool
) -> None:
    port = begun(site)
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        victim = master(site, oldest=oldest)
        if both:
            os.kill(keeper(site), signal.SIGKILL)
        site.end(site.daemons[-1], signal.SIGKILL)
        for file in site.state.glob("reconciler.db*"):
            file.unlink()
        os.killpg(victim, signal.SIGKILL)
        site.live()
        eventually(lambda: site.status()["daemon"]["running"] and site.instances("shop"), 60)
        load.await_more(50)
        eventually(lambda: is_canary(site) or site.settled("shop"), 60)
        if is_canary(site):
            eventually(lambda: site.cli("promote", "shop").returncode == 0, 30)
        eventually(lambda: len(site.instances("shop")) == 1 and site.settled("shop"), 60)
        load.await_more(100)
    # Killed with the keeper and the daemon, a release takes what waits for it along: nobody has its listener any more.
    allowed = {"reset", "refused"} if both else {"reset"}
    assert set(load.failed) <= allowed, load.failed
    assert sum(load.failed.values()) <= 4 or both, load.failed


def test_a_listener_of_which_neither_record_nor_process_is_left_is_closed(site: Site) -> None:
    port = begun(site)
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        victim = master(site, oldest=False)
        site.end(site.daemons[-1], signal.SIGKILL)
        for file in site.state.glob("reconciler.db*"):
            file.unlink()
        save(site, "1")  # nothing is to be tried any more
        os.killpg(victim, signal.SIGKILL)
        site.live()
        eventually(lambda: site.status()["daemon"]["running"] and site.settled("shop"), 60)
        load.await_more(300)
    assert set(load.failed) <= {"reset"}, load.failed
    assert sum(load.failed.values()) <= 4
