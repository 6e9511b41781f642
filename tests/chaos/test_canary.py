"""Canaries under load while whatever takes part in them is killed, and as often as wanted: no connection is refused."""

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from reconciler.planning.apps.app import CrashPolicy
from tests.support.canaries import answers_of, begun, is_canary, keeper, kinds, save
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.site import Site

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
AT_ONCE = CrashPolicy(first_s=0.05, cap_s=0.1, good_run_s=0.0)
QUICK: dict[str, Any] = {"retry_first_s": 0.1, "retry_cap_s": 0.2, "crash": AT_ONCE, "quiet_s": 0.01}


def _starts(site: Site) -> object:
    return len(site.instances("shop")) == 2


def _has_its_share(site: Site) -> object:
    return "canary" in kinds(site)


def _has_all(site: Site) -> object:
    if "canary" in kinds(site):
        site.cli("promote", "shop")
    return "promoted" in kinds(site)


def _has_none_again(site: Site) -> object:
    if "canary" in kinds(site):
        site.cli("abort", "shop")
    return "aborted" in kinds(site)


def _daemon(site: Site) -> None:
    site.end(site.daemons[-1], signal.SIGKILL)
    site.live(**QUICK)


def _daemon_and_keeper(site: Site) -> None:
    os.kill(keeper(site), signal.SIGKILL)
    _daemon(site)


def _canary(site: Site) -> None:
    _kill_one(site, -1)


def _release_before(site: Site) -> None:
    _kill_one(site, 0)


def _kill_one(site: Site, which: int) -> None:
    found = site.instances("shop")
    if len(found) == 2 and (pid := found[which].pid):  # otherwise it ended a moment ago
        os.killpg(pid, signal.SIGKILL)


STEPS = (_starts, _has_its_share, _has_all, _has_none_again)
VICTIMS = (_daemon, _daemon_and_keeper, _canary, _release_before)
DAILY = {(_daemon_and_keeper, _has_all), (_canary, _starts), (_release_before, _has_none_again)}


@pytest.mark.parametrize(
    ("victim", "step"),
    [
        pytest.param(
            victim,
            step,
            marks=() if (victim, step) in DAILY else pytest.mark.nightly,
            id=f"{victim.__name__[1:]} when it {step.__name__[1:]}",
        )
        for victim in VICTIMS
        for step in STEPS
    ],
)
def test_whatever_is_killed_at_whichever_step_no_connection_is_refused(
    site: Site, victim: Callable[[Site], None], step: Callable[[Site], object]
) -> None:
    port = begun(site, settings=QUICK)
    with under_load(port) as load:
        save(site, "2")
        eventually(partial(step, site), 60)
        victim(site)
        eventually(lambda: site.status()["daemon"]["running"], 30)
        if len(site.instances("shop")) == 2:
            eventually(lambda: _ends(site), 60)
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 60)
        load.await_more(50)
    assert not load.failed.keys() & {"refused", "late", "unconnected"}, load.failed
    most = 4 if victim in {_canary, _release_before} else 0  # two clients, each at work with it or in its hands
    assert sum(load.failed.values()) <= most, load.failed


def _ends(site: Site) -> bool:
    """Promote what has a share by now; true once one instance is left, whichever."""
    if is_canary(site):
        site.cli("promote", "shop")
    return len(site.instances("shop")) == 1


def test_a_daemon_killed_before_each_thing_it_does_about_a_canary_costs_no_request(site: Site) -> None:
    port = begun(site, share=["20%", "50%"], lasts="100ms", settings=QUICK)
    number, step, killed = 1, 1 if NIGHTLY else 37, 0
    site.end(site.daemons[-1])
    with under_load(port) as load:
        while True:
            version = f"v{number}"
            save(site, version)
            mortal = site.live(Cues(die_at=number), **QUICK)
            eventually(partial(_is_dead_or_serves, mortal, site, port, version), 60)
            if mortal.is_alive():
                break
            killed += 1
            heir = site.live(**QUICK)
            eventually(partial(_serves, site, port, version), 60)
            site.end(heir, signal.SIGKILL)
            number += step
    assert killed > 2
    assert load.failed == {}
    print(f"killed {killed} times, before effects up to {number - step}: {load.ok} requests")


def _is_dead_or_serves(mortal: Any, site: Site, port: int, version: str) -> bool:
    return not mortal.is_alive() or _serves(site, port, version)


def _serves(site: Site, port: int, version: str) -> bool:
    return site.serves("shop", version, port)() and len(site.instances("shop")) == 1


@pytest.mark.nightly
def test_a_hundred_canaries_are_aborted_and_promoted_under_load_and_no_request_is_lost(site: Site) -> None:
    port = begun(site, share="20%", settings=QUICK)
    served = "1"
    with under_load(port) as load:
        for number in range(100):
            version, command = f"v{number}", "promote" if number % 2 else "abort"
            save(site, version)
            answers_of(load, version)
            eventually(lambda: is_canary(site), 30)
            assert site.cli(command, "shop").returncode == 0
            eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 30)
            served = version if command == "promote" else served
            answers_of(load, served, 20)
    assert load.failed == {}
    assert kinds(site).count("aborted") == kinds(site).count("promoted") == 50
    print(f"{load.ok} requests")
