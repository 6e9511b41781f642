"""The page with 500 apps in a headless Chromium: how soon a viewer sees it, and whether anything moves afterwards.

The browser is driven over the DevTools protocol, and says itself when it painted and what moved: by the entries that
`performance` has of navigation and paint, and by the sum of its `layout-shift` entries (CLS) until the page has been
live for a while, and again until it has been scrolled to its end. Each load waits until the machine is idle, as what
else runs would be measured, too, and until no look at the host is kept from the load before. A first visit has nothing
in the browser's cache; a later one has the style sheet and the script.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, bench
from benchmarks.machine import described
from benchmarks.printed import verdict
from benchmarks.studies.page import APPS, Client, fill

LOADS = int(os.environ.get("LOADS", "15"))
MOST_MS = 150.0
LIVE_S = 3.0
KEPT_S = 5.5  # of a look at the host, and a little more
IDLE_SHARE, IDLE_FOR_S, IDLE_WITHIN_S = 0.9, 0.5, 600.0
WIDTHS = (1280, 390)
_WORDS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
_TIMES = """
    const [load] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return {"first byte": load.responseStart, "first paint": paint.startTime, "whole page": load.responseEnd,
            "loaded": load.loadEventEnd};
"""
_SHIFTS = """
    const done = arguments[0];
    let sum = 0;
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
        .observe({type: "layout-shift", buffered: true});
    setTimeout(() => done(sum), 100);
"""
_SCROLL = """
    const done = arguments[0];
    const step = () => {
        const before = scrollY;
        scrollBy(0, innerHeight * 0.9);
        if (scrollY > before) requestAnimationFrame(() => requestAnimationFrame(step)); else done();
    };
    step();
"""


def main(_: Sequence[str]) -> int:
    print(described())
    with bench() as here, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        here.start("--page")
        fill(here, APPS)
        with _browser(Path(scratch)) as driver:
            driver.get(_link(here))
            time.sleep(LIVE_S)
            url = driver.current_url
            place = here.state / "api.sock"
            held = [_measure(driver, url, place, width, first=first) for width in WIDTHS for first in (False, True)]
    return 0 if all(held) else 1


def _measure(driver: Any, url: str, place: Path, width: int, *, first: bool) -> bool:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    taken: list[Mapping[str, float]] = []
    shifts = 0.0
    for _ in range(LOADS):
        driver.get("about:blank")
        if first:
            driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        _until_idle(place)
        driver.get(url)
        time.sleep(LIVE_S)
        taken.append(driver.execute_script(_TIMES))
        shifts = max(shifts, driver.execute_async_script(_SHIFTS))
    driver.execute_async_script(_SCROLL)
    scrolled = driver.execute_async_script(_SHIFTS)
    print(f"-- {width} wide, {'a first visit' if first else 'a later one'}, {LOADS} loads")
    for name in taken[0]:
        found = [each[name] for each in taken]
        print(f"{name:12} median {statistics.median(found):6.0f} ms   min {min(found):6.0f}   max {max(found):6.0f}")
    holds = verdict("first paint in ms, median", statistics.median(t["first paint"] for t in taken), MOST_MS)
    return verdict("CLS, live for a while", shifts, 0.0) and verdict("CLS, scrolled", scrolled, 0.0) and holds


@contextlib.contextmanager
def _browser(scratch: Path) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in _WORDS:
        options.add_argument(word)
    # Chromium leaves files behind, whatever becomes of its profile.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or "", env=environment)
    )
    try:
        driver.set_script_timeout(120)
        yield driver
    finally:
        driver.quit()


def _link(here: Bench) -> str:
    told = subprocess.run(here.command("page", "--json", "--state", str(here.state)), capture_output=True, check=True)
    return str(json.loads(told.stdout)["url"])


def _until_idle(place: Path) -> None:
    """Wait until the processors have had little to do for a moment; complain where they always have."""
    time.sleep(KEPT_S)
    deadline = time.monotonic() + IDLE_WITHIN_S
    while time.monotonic() < deadline:
        _keep_alive(place)
        before = _ticks()
        time.sleep(IDLE_FOR_S)
        after = _ticks()
        if (after[0] - before[0]) >= IDLE_SHARE * (after[1] - before[1]):
            return
    print("the machine is never idle: these figures say little", file=sys.stderr)


def _keep_alive(place: Path) -> None:
    """Make the process that answers wait for the browser, however long that takes."""
    client = Client(place)
    client.request("GET", "/static/none/none")
    client.getresponse().read()
    client.close()


def _ticks() -> tuple[int, int]:
    """The ticks in which the processors idled, and all."""
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)
