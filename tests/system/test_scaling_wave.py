"""A real load that comes and goes each minute, on a real app with a range: followed without swinging; nightly."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event, Thread

import pytest

from tests.support.site import Site, get
from tests.system.test_scaling import workers
from tests.system.test_scaling_loads import WAITS, serve

pytestmark = pytest.mark.nightly

_PERIOD_S, _PERIODS = 60.0, 6
_MOST = 6
_MEAN = 10.0  # requests a second of 200 ms: two workers' work, none at its least and four at its most


def _arrivals() -> Iterator[float]:
    """Yield when each request comes: the rate is a sine around its mean."""
    at = 0.0
    while at < _PERIOD_S * _PERIODS:
        yield at
        at += 1 / max(0.5, _MEAN * (1 - math.cos(2 * math.pi * at / _PERIOD_S)))


def test_a_load_that_comes_and_goes_each_minute_is_followed_without_swinging(site: Site) -> None:
    port = serve(site, WAITS.replace("sleep(1.0)", "sleep(0.2)"), _MOST)
    site.manifest("blog", port=port, probation="0s", workers={"min": 1, "max": _MOST, "calm": "30s"})
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    told, seen, ended = Counter[str](), list[tuple[float, int]](), Event()
    began = time.monotonic()

    def ask() -> None:
        try:
            get(port, "/", 120.0)
            told["ok"] += 1
        except (OSError, AssertionError) as error:
            told[type(error).__name__] += 1

    def watch() -> None:
        while not ended.wait(1.0):
            seen.append((time.monotonic() - began, workers(site)))

    watching = Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(200) as clients:
        for at in _arrivals():
            time.sleep(max(0.0, began + at - time.monotonic()))
            clients.submit(ask)
    ended.set()
    watching.join()
    numbers = [number for _, number in seen]
    late = [number for at, number in seen if at > _PERIOD_S * _PERIODS / 2]
    changes = sum(before != after for before, after in pairwise(late))
    print(
        f"{told['ok']} answered, {min(numbers)} to {max(numbers)} workers, {changes} changes in the last three periods"
    )
    assert set(told) == {"ok"}
    assert 1 <= min(numbers) <= max(numbers) <= _MOST
    assert changes < 9, f"to follow each wave would take 30: {late}"
