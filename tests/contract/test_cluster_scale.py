"""Many apps in one cluster, against an API server's double: what a look costs, how soon an edit is there.

The figures are printed with -s, and are in docs/evidence/clusters.md; no test is about time.
"""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.ownership import APP, INSTALLATION
from tests.support.cluster_worlds import Converging, PlacedApps, converging
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.kube_api import Fault, kube_api
from tests.support.storms import due, storm

pytestmark = [pytest.mark.contract, pytest.mark.nightly]

HOURS_S = 3600.0


def names(count: int) -> list[str]:
    return [f"app-{number}" for number in range(count)]


def resident_kib() -> int:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


async def all_settled(found: Converging) -> None:
    """Wait until all apps are as desired; a look at all of them is no small thing beside what brings them there."""
    async with asyncio.timeout(HOURS_S):
        while found.unsettled():
            await asyncio.sleep(1)


@on_loop
async def test_five_hundred_apps_are_looked_at_without_a_request_and_one_edit_writes_one_object(tmp_path: Path) -> None:
    with kube_api() as api:
        apps = PlacedApps({"health": {"path": "/"}})
        apps.add(*names(500))
        begun, before_kib = time.process_time(), resident_kib()
        async with converging(tmp_path, api, apps) as found:
            await all_settled(found)
            there_s, taken_kib = time.process_time() - begun, resident_kib() - before_kib
            asked = len(api.asked)
            begun = time.process_time()
            found.look(*names(500))
            first_s = time.process_time() - begun
            assert len(api.asked) == asked
            begun, wall = time.process_time(), time.monotonic()
            apps.add("app-17", content="2")
            found.follow()
            await soon(lambda: content(api.of("Deployment", "app-17")) == "2")
            seen_s, edit_s = time.monotonic() - wall, time.process_time() - begun
            await all_settled(found)
            assert api.asked[asked:] == [("PATCH", "/apis/apps/v1/namespaces/web/deployments/app-17")]
            print(
                f"\n500 apps: there after {there_s:.1f} s of processor time, a look at all {first_s * 1000:.0f} ms"
                f"; an edit in the cluster after {seen_s * 1000:.0f} ms, {edit_s * 1000:.0f} ms of it;"
                f" {taken_kib / 500:.0f} KiB an app; all with the double's"
            )


def content(deployment: object) -> str:
    assert isinstance(deployment, dict)
    return str(deployment["spec"]["template"]["metadata"]["labels"]["content"])


@on_loop
async def test_ten_thousand_apps_converge_against_a_server_of_which_a_tenth_of_the_answers_is_a_fault(
    tmp_path: Path,
) -> None:
    chance = random.Random(4)
    faults: tuple[Fault, ...] = (429, 500, 410, "before", "after")
    with kube_api() as api:
        api.fault = lambda *_: chance.choice(faults) if chance.random() < 0.1 else None
        api.retry_after = "0"
        apps = PlacedApps({})
        apps.add(*names(10_000))
        wall = time.monotonic()
        async with converging(tmp_path, api, apps) as found:
            await all_settled(found)
            taken_s = time.monotonic() - wall
            assert len(api.names("Deployment")) == 10_000
            most = api.most_at_once
            print(f"\n10,000 apps: {len(api.asked)} requests, {most} at once at most, {taken_s:.0f} s")
            assert most <= 2 * 8  # beside the watches; one that is given up is answered still
            assert len(api.asked) < 3 * 20_000
            # And all of them go again, with their manifests.
            apps.desired.clear()
            found.follow()
            async with asyncio.timeout(HOURS_S):
                while api.names():
                    await asyncio.sleep(1)


def pod(app: str, number: int, restarts: int) -> dict[str, Any]:
    labels = {APP: app, INSTALLATION: "here", "reconciler.dev/part": "web"}
    status = {"containerStatuses": [{"restartCount": restarts}], "conditions": [{"type": "Ready", "status": "True"}]}
    return {"kind": "Pod", "metadata": {"name": f"{app}-{number}", "labels": labels}, "status": status}


@on_loop
async def test_a_storm_of_pod_events_is_taken_in_without_a_request(tmp_path: Path) -> None:
    apps_at_once, pods_of_each, rounds = 50, 20, 20
    with kube_api() as api:
        apps = PlacedApps({})
        apps.add(*names(apps_at_once))
        async with converging(tmp_path, api, apps) as found:
            await all_settled(found)
            asked = len(api.asked)

            def storm(first: int, rounds: int) -> None:
                for restarts in range(first, first + rounds):
                    for app in names(apps_at_once):
                        for number in range(pods_of_each):
                            api.put(pod(app, number, restarts), "kubelet")

            async def taken_in(restarts: int) -> None:
                last = f"app-{apps_at_once - 1}"
                await soon(lambda: set(found.restarts(last)) == {restarts}, HOURS_S)

            await asyncio.to_thread(storm, 0, 2)
            await taken_in(1)
            api.events.clear()  # the double's own
            before_kib, begun, wall = resident_kib(), time.thread_time(), time.monotonic()
            await asyncio.to_thread(storm, 2, rounds)
            thrown_s = time.monotonic() - wall
            await taken_in(rounds + 1)
            lag_s = time.monotonic() - wall - thrown_s
            count, taken_s = apps_at_once * pods_of_each * rounds, time.thread_time() - begun
            print(
                f"\n{count} events of {apps_at_once * pods_of_each} pods, thrown in {thrown_s:.1f} s:"
                f" {taken_s:.2f} s of processor time, {taken_s / count * 1e6:.0f} µs an event;"
                f" the last was seen {lag_s:.2f} s after it;"
                f" {(resident_kib() - before_kib) / 1024:.0f} MiB more, with the double's events"
            )
            assert all(len(found.restarts(app)) == pods_of_each for app in names(apps_at_once))
            assert not found.unsettled()
            assert len(api.asked) == asked


@on_loop
async def test_five_thousand_events_of_pods_a_second_are_taken_in_as_they_come(tmp_path: Path) -> None:
    rate, for_s, apps_at_once, pods_of_each = 5_000, 20.0, 100, 10
    with kube_api() as api, storm(names(apps_at_once), pods_of_each, rate, for_s) as port:
        apps = PlacedApps({})
        apps.add(*names(apps_at_once))
        async with converging(tmp_path, api, apps, pods_at=port) as found:
            lags, sizes, taken = list[float](), list[int](), list[float]()

            def behind() -> float:
                """The time since the last event that was taken in was due, of all pods."""
                pods = (pod for name in names(apps_at_once) for pod in found.world.observe(name).pods)
                return time.monotonic() - max(map(due, pods), default=0.0)

            await soon(lambda: behind() < for_s and not found.unsettled(), HOURS_S)
            asked, begun, wall = len(api.asked), time.process_time(), time.monotonic()
            while len(lags) < for_s / 2:
                await asyncio.sleep(1)
                lags.append(behind())
                sizes.append(resident_kib())
                taken.append((time.process_time() - begun) / (time.monotonic() - wall))
            await soon(lambda: set(found.restarts("app-99")) >= {int(rate * for_s) - 1}, HOURS_S)
            print(
                f"\n{rate} events a second for {for_s:.0f} s: taken in {min(lags) * 1000:.0f} to"
                f" {max(lags) * 1000:.0f} ms after each was due; {taken[-1]:.2f} of a processor;"
                f" {(sizes[-1] - sizes[0]) / 1024:.1f} MiB more at the end than after a second of them"
            )
            assert not found.unsettled()
            assert len(api.asked) == asked
