"""Real loads on real apps with a range: what the limit is of each, what does not scale, and what no kill disturbs.

Each takes minutes, as an app is said to be saturated after one; nightly.
"""

import base64
import contextlib
import itertools
import os
import random
import select
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.eventually import eventually
from tests.support.site import Site, get
from tests.system.test_scaling import causes, workers

pytestmark = pytest.mark.nightly

_WITHIN_S = 240.0
_SLOW = """
import time
def application(environ, start_response):
    {work}
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
WAITS = _SLOW.format(work="time.sleep(1.0)")
COMPUTES = _SLOW.format(work="begin = time.process_time()\n    while time.process_time() < begin + 0.2: pass")
# Each worker takes forty megabytes of its own.
FAT = WAITS + "\nimport os\nheld = os.urandom(40 << 20)\n"
ASGI = """
import asyncio, time
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    begin = time.process_time()
    while time.process_time() < begin + 0.2:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@contextlib.contextmanager
def load(port: int, clients: int) -> Iterator[Counter[str]]:
    """Ask again and again by so many clients; yields what became of the requests, by `ok` or the error's name."""
    ended, told = Event(), Counter[str]()

    def ask() -> None:
        while not ended.is_set():
            try:
                get(port, "/", 120.0)
                told["ok"] += 1
            except (OSError, AssertionError) as error:
                told[type(error).__name__] += 1
                ended.wait(0.05)

    threads = [Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def serve(site: Site, code: str, most: int, **fields: object) -> int:
    port = site.app("blog", probation="0s", workers={"min": 1, "max": most}, **fields)  # type: ignore[arg-type]
    site.save(site.root / "apps/blog/wsgi.py", code)
    return port


def saturated(site: Site) -> str:
    """Wait until the app says what its limit is."""
    eventually(lambda: site.told("blog")["reason"] == "saturated", within=_WITHIN_S)
    return str(site.told("blog")["message"])


def test_an_app_that_waits_for_another_gets_all_its_workers_and_says_that_it_waits(site: Site) -> None:
    port = serve(site, WAITS, 3)
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    with load(port, 12) as told:
        assert saturated(site) == "saturated: waiting, not computing (database?)"
        assert workers(site) == 3
    assert set(told) == {"ok"}


def test_an_app_that_computes_stops_at_what_the_processors_have_and_says_so(site: Site) -> None:
    port = serve(site, COMPUTES, 40)
    site.live()
    site.await_settled("blog")
    with load(port, 60) as told:
        assert saturated(site).startswith("saturated: the processor")
        assert workers(site) < 40
    assert set(told) == {"ok"}


def test_an_app_whose_workers_take_more_memory_than_there_is_gets_no_more_and_none_is_killed(site: Site) -> None:
    port = serve(site, FAT, 40, limits={"memory": "400M"})
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    with load(port, 60) as told:
        message = saturated(site)
    assert message.startswith("saturated: memory: each worker takes ")
    assert 1 < workers(site) < 10
    kinds = {kind for _, kind, _ in site.events("blog")}
    assert not kinds & {"exceeded", "exited"}
    assert set(told) == {"ok"}


def test_threads_that_are_all_taken_get_another_worker(site: Site) -> None:
    port = serve(site, WAITS, 3, worker_class="gthread", threads=4)
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    with load(port, 3) as told:
        eventually(lambda: told["ok"] > 15, within=_WITHIN_S)
        assert workers(site) <= 2, "three of four threads are busier than 70%, and no request waits"
        with load(port, 9) as more:
            eventually(lambda: workers(site) == 3, within=_WITHIN_S)
    assert set(told + more) == {"ok"}


@pytest.mark.parametrize(
    "worker_class", ["asgi", pytest.param("uvicorn.workers.UvicornWorker", marks=pytest.mark.network)]
)
def test_a_hundred_idle_websockets_ask_for_no_worker_and_computing_does(site: Site, worker_class: str) -> None:
    port = serve(site, ASGI, 3, worker_class=worker_class)
    if worker_class != "asgi":
        site.save(site.root / "apps/blog/requirements.txt", "uvicorn\nwebsockets\n")
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(websocket(port))
        looks = [get(port, "/", 60.0) for _ in range(10)]
        assert (set(looks), causes(site)) == ({"ok"}, [])
        with load(port, 4) as told:
            eventually(lambda: workers(site) >= 2, within=_WITHIN_S)
        assert "cores used by" in causes(site)[0]
    assert set(told) == {"ok"}


@contextlib.contextmanager
def websocket(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as client:
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in client.recv(4096)
        yield client


def test_kills_of_the_daemon_the_master_and_workers_while_it_scales_refuse_no_connection(site: Site) -> None:
    port = serve(site, _SLOW.format(work="time.sleep(0.1)"), 4)
    daemon, chance = site.live(scaling_pressure=1.0), random.Random(20)
    site.await_settled("blog")
    with load(port, 12) as told:
        for step in range(12):
            before = told["ok"]
            eventually(lambda before=before: told["ok"] > before + 20, within=_WITHIN_S)  # type: ignore[misc]
            match step % 3:
                case 0:
                    alive = [int(pid) for pid in children(site.pid("blog"))]
                    os.kill(chance.choice(alive), signal.SIGKILL)
                case 1:
                    site.end(daemon, signal.SIGKILL)
                    daemon = site.live(scaling_pressure=1.0)
                case 2:
                    os.kill(site.pid("blog"), signal.SIGKILL)
        eventually(lambda: workers(site) == 4, within=_WITHIN_S)
        eventually(lambda: len(children(site.pid("blog"))) == 4, within=_WITHIN_S)
    assert told["ConnectionRefusedError"] == 0
    assert told.total() - told["ok"] <= 4 + 4 * 4, "what a killed worker had at hand, and the four of a killed master"


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_deploy_under_load_starts_with_as_many_workers_as_there_are(site: Site) -> None:
    port = serve(site, WAITS, 3)
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    with load(port, 12) as told:
        eventually(lambda: workers(site) == 3, within=_WITHIN_S)
        old = site.pid("blog")
        site.save(site.root / "apps/blog/wsgi.py", WAITS + "\n# another\n")
        new = eventually(lambda: [each for each in site.instances("blog") if each.pid != old], within=_WITHIN_S)
        assert [each.workers for each in new] == [3]
        eventually(lambda: old not in {each.pid for each in site.instances("blog")}, within=_WITHIN_S)
    assert set(told) == {"ok"}


def test_a_load_that_falls_away_ends_with_the_least_workers_and_loses_nothing(site: Site) -> None:
    port = site.app("blog", probation="0s", workers={"min": 1, "max": 3, "calm": "5s"})
    site.save(site.root / "apps/blog/wsgi.py", _SLOW.format(work="time.sleep(0.5)"))
    site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    with load(port, 8) as told:
        eventually(lambda: workers(site) == 3, within=_WITHIN_S)
    with load(port, 1) as few:
        eventually(lambda: workers(site) <= 2, within=_WITHIN_S)
    eventually(lambda: workers(site) == 1, within=_WITHIN_S)
    assert set(told + few) == {"ok"}
    numbers = [int(line.split(" runs ")[1].split()[0]) for line in causes(site)]
    falls = [after - before for before, after in itertools.pairwise(numbers) if after < before]
    assert set(falls) == {-1}


def test_two_hundred_apps_asked_all_at_once_hold_the_budget_and_the_least_of_each(site: Site) -> None:
    names, budget = [f"app{number:03}" for number in range(200)], 220
    code = site.root / "apps/slow"
    code.mkdir(parents=True)
    site.save(code / "wsgi.py", WAITS)
    ports = [site.app(name, path=str(code), probation="0s", workers={"min": 1, "max": 3}) for name in names]
    site.live(scaling_pressure=1.0, scaling_workers=budget)
    site.await_settled(*names, within=_WITHIN_S)
    totals = [200]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asked(port)) for port in ports for _ in range(8)]
        poll = select.poll()
        for client in clients:
            poll.register(client, select.POLLIN)
        eventually(lambda: has_workers(site, totals) and len(poll.poll(0)) == len(clients), within=_WITHIN_S)
        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}
    assert 200 < max(totals) <= budget


def has_workers(site: Site, totals: list[int]) -> bool:
    """Note how many workers there are in all; each app has one at least."""
    has = [record.workers for record in site.instances()]
    totals.append(sum(has))
    return min(has) >= 1


@contextlib.contextmanager
def asked(port: int) -> Iterator[socket.socket]:
    """A connection on which a request was sent, and its answer not read yet."""
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        yield client
