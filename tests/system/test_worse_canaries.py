"""Releases that are worse in one way each are aborted, and few clients see it. The figures are in the docs."""

import math
import re
import time

import pytest

from tests.support.canaries import begun, kinds
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.site import Site

pytestmark = [pytest.mark.system, pytest.mark.nightly]

_APP = """
import os, random, time

hoard = []
answered = 0

def application(environ, start_response):
    global answered
    answered += 1
    WRONG
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"VERSION"]
"""
_FAIL = """if random.random() < {}:
        start_response("500 No", [("Content-Type", "text/plain")])
        return [b"VERSION"]"""
_SLEEP = "time.sleep(random.uniform(0.5, 1) * {})"
_LEAK = "hoard.extend(bytearray(4_000_000) for _ in range(len(hoard) < 100))"
_CRASH = "answered % 50 or os._exit(3)"

# How the release before and the canary are written, with what share, and what is told of it.
WORSE = {
    "1% to 5%": (_FAIL.format(0.01), _FAIL.format(0.05), "it fails more often"),
    "0 to 100%": ("pass", _FAIL.format(1), "it fails more often"),
    "three times as slow": (_SLEEP.format(0.1), _SLEEP.format(0.3), "it is slower"),
    "a leak": ("pass", _LEAK, "of memory, those of the other release|it is slower"),  # taking memory takes time
    "a crash in fifty": ("pass", _CRASH, "exited"),
}


@pytest.mark.parametrize("name", WORSE)
def test_a_worse_release_is_aborted_and_few_requests_meet_it(site: Site, name: str) -> None:
    before, after, why = WORSE[name]
    port = begun(site, share="5%")
    _write(site, "1", before)
    eventually(lambda: _promoted(site), 60)
    with under_load(port, clients=6) as load:
        load.await_more(500)
        _write(site, "2", after)
        eventually(lambda: "canary" in kinds(site)[-1:], 30)
        began, of_all = time.monotonic(), sum(load.outcomes.values())
        eventually(lambda: kinds(site)[-1:] == ["aborted"], 240)
        took, of_all = time.monotonic() - began, sum(load.outcomes.values()) - of_all
        eventually(lambda: len(site.instances("shop")) == 1, 30)
    seen = load.bodies["2"]
    told = site.told("shop")["message"]
    print(f"{name}: {seen} requests of the canary, of {of_all} in {took:.0f} s: {_cause(told)}")
    assert re.search(why, told)
    assert seen <= 0.05 * of_all + 5 * math.sqrt(0.05 * 0.95 * of_all) + 20, "its share, by chance, and what it was at"
    assert load.failed.get("refused", 0) == load.failed.get("late", 0) == 0


def _write(site: Site, version: str, wrong: str) -> None:
    text = _APP.replace("WRONG", wrong).replace("VERSION", version)
    site.save(site.root / "apps/shop/wsgi.py", text)


def _promoted(site: Site) -> bool:
    """Have the release before be the one that is written: the first one answered something else."""
    if kinds(site)[-1:] == ["canary"]:
        site.cli("promote", "shop")
    return kinds(site)[-1:] == ["promoted"] and len(site.instances("shop")) == 1


def _cause(told: str) -> str:
    return re.sub(r"^revision \w+ failed: |; revision .*$", "", told)
