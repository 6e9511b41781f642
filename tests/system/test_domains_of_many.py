"""Many apps with domains: their names come, change and go under load at the cost of a few changes of the proxy."""

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from reconciler.linux.process_table import proportional
from reconciler.planning.routing.caddy import Abilities, whole
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing
from reconciler.routing.kept_caddy import KeptCaddy, dismiss, kept_pid
from reconciler.settings.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.paced import event_streams, websockets
from tests.support.ports import a_port
from tests.support.proxies import CADDIES, ask, needs_caddy, version
from tests.support.site import Site
from tests.system.test_domains_at_the_asked_rate import LIVE, answer
from tests.system.test_domains_in_trouble import asking

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

EACH_CADDY = pytest.mark.parametrize("program", CADDIES, ids=lambda program: ".".join(map(str, version(program))))
APPS = 50
MOST_CHANGES = 25
CHANGES = 20
MOST_BYTES = 70 * 2**20


@EACH_CADDY
def test_names_of_fifty_apps_come_change_and_go_and_no_request_of_another_fails(site: Site, program: str) -> None:
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    site.app("shop", "shop", domains=["shop.localhost"])
    site.source("live").joinpath("wsgi.py").unlink()
    site.save(site.root / "apps/live/asgi.py", LIVE.replace("VERSION", "1"))
    site.manifest("live", entrypoint="asgi:app", domains=["live.localhost"], port=a_port())
    for number in range(APPS):
        many(site, number)
    site.live(proxy=Proxy(front=front, run=True, program=program))
    eventually(lambda: ask("shop.localhost", front.https)[1] == "shop", 120)
    eventually(lambda: site.settled("shop", "live"), 120)
    eventually(lambda: [each["state"] for each in site.status()["domains"]] == ["served"] * 2, 60)
    before = configured(site)
    with (
        event_streams("live.localhost", front.https, 5, "/events") as streams,
        websockets("live.localhost", front.https, 20) as speaking,
    ):
        with asking("shop.localhost", front.https) as seen:
            for step, last in (("one", True), ("two", True), ("", False)):
                for number in range(APPS):
                    many(site, number, step)
                    time.sleep(0.02)
                names = {f"{step}{number}.localhost" for number in range(APPS)} if last else set()
                eventually(lambda names=names: published(site) == names, 120)  # type: ignore[misc]
                if last:
                    eventually(lambda step=step: ask(f"{step}7.localhost", front.https)[0] == 200, 60)  # type: ignore[misc]
        # An old Caddy has no certificate for a moment when it is changed, and closes websockets.
        assert set(seen) == {"shop"} or (version(program) < (2, 7) and seen["shop"] > 0.98 * seen.total()), seen
        assert configured(site) - before <= MOST_CHANGES
        assert streams.ended == []
        assert min(streams.events) > 0
        kept = "1 still" if version(program) >= (2, 7) else "closed"
        assert [answer(each) for each in speaking] == [kept] * 20


def many(site: Site, number: int, step: str = "") -> None:
    """Write one of fifty apps, all of which have the code of the shop and sleep, with a name or without."""
    domains = {"domains": [f"{step}{number}.localhost"]} if step else {}
    site.manifest(f"many{number}", path="../apps/shop", start="lazy", **domains)


def published(site: Site) -> set[str]:
    return {
        each["name"]
        for each in site.status()["domains"]
        if each["app"].startswith("many") and each["state"] not in {"unpublished", "pending"}
    }


def configured(site: Site) -> int:
    return sum(kind == "configured" for _, kind, _ in site.events())


@EACH_CADDY
def test_two_hundred_apps_cost_the_proxy_little_memory(tmp_path: Path, program: str) -> None:
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")

    def config(more: int = 0) -> object:
        routes = tuple(
            Route(
                app=f"app{n}", key="k" * 32, upstream=f"127.0.0.1:{20000 + n}",
                routing=Routing(domains=(f"app{n}.localhost",), tls="off"),
            )
            for n in range(200 + more)
        )  # fmt: skip
        return whole(routes, front, Abilities.of(version(program)), str(tmp_path / "proxy.log"))

    def computed_s() -> float:
        pid = kept_pid(tmp_path)
        assert pid is not None
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system

    async def story() -> tuple[list[float], float]:
        caddy = KeptCaddy(tmp_path, program, lambda: None)
        await caddy.start(config())
        taken, computed = [], 0.0
        for number in range(CHANGES):
            await caddy.look()
            before, began = computed_s(), time.perf_counter()
            await caddy.configure(config(number + 1))
            taken.append((time.perf_counter() - began) * 1000)
            computed += computed_s() - before
        caddy.close()
        return sorted(taken), computed * 1000 / CHANGES

    try:
        taken, computed_ms = asyncio.run(story())
        pid = kept_pid(tmp_path)
        assert pid is not None
        used = proportional(pid)
        change = f"{taken[CHANGES // 2]:.1f} ms, of which Caddy computes {computed_ms:.1f} ms"
        print(f"a change of one name of 200: {change}; memory: {used / 2**20:.1f} MiB")
        assert 0 < used <= MOST_BYTES
    finally:
        dismiss(tmp_path)
