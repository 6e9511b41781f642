"""An app `shop` whose new revisions are tried as canaries, and what is seen of one from outside."""

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from reconciler.linux.unix_sockets import connected, peer_pid
from tests.support.eventually import eventually
from tests.support.load import Load
from tests.support.ports import a_port
from tests.support.site import Site

_APP = """
def application(environ, start_response):
    start_response("STATUS", [("Content-Type", "text/plain")])
    return [b"VERSION"]
"""


def save(site: Site, version: str, status: str = "200 OK") -> None:
    """Write the code of the app: it answers its version."""
    directory = site.root / "apps/shop"
    directory.mkdir(exist_ok=True)
    site.save(directory / "wsgi.py", _APP.replace("VERSION", version).replace("STATUS", status))


def begun(
    site: Site,
    *,
    share: str | list[str] = "50%",
    lasts: str = "1h",
    settings: Any = None,
    host: str = "",
    **canary: Any,
) -> int:
    """Serve version 1 of an app with a canary, and return its port."""
    port = a_port()
    save(site, "1")
    asks(site, port, share=share, lasts=lasts, host=host, **canary)
    site.live(**(settings or {}))
    site.await_settled("shop")
    return port


def asks(site: Site, port: int, *, share: str | list[str], lasts: str, host: str = "", **canary: Any) -> None:
    """Write its manifest."""
    fields = {"share": share, "for": lasts, **canary}
    given = {"host": host} if host else {}
    site.manifest("shop", port=port, probation="0s", workers=2, stop_timeout="5s", canary=fields, **given)


def left_amid_a_canary(site: Site, load: Load, *, both: bool) -> list[int | None]:
    """Kill the daemon, and the keeper if `both`, once version 2 is a canary; the masters of both versions."""
    save(site, "2")
    answers_of(load, "2")
    eventually(lambda: is_canary(site), 30)
    masters = [record.pid for record in site.instances("shop")]
    if both:
        os.kill(keeper(site), signal.SIGKILL)
    site.end(site.daemons[-1], signal.SIGKILL)
    return masters


def is_canary(site: Site) -> bool:
    return bool(site.told("shop")["state"] == "canary")


def kinds(site: Site) -> list[str]:
    """What happened to canaries, in order."""
    return [kind for _, kind, _ in site.events("shop") if kind in {"canary", "promoted", "aborted"}]


def answers_of(load: Load, version: str, more: int = 5) -> None:
    """Wait until a version has answered so many more requests."""
    enough = load.bodies[version] + more
    eventually(lambda: load.bodies[version] >= enough, 30)


def master(site: Site, *, oldest: bool) -> int:
    """The master of the release before, or of the canary; both serve."""
    found = [record for record in site.instances("shop") if record.ready_at is not None]
    assert len(found) == 2, found
    pid = found[0 if oldest else 1].pid
    assert pid
    return pid


def keeper(site: Site) -> int:
    """The process that holds the listeners while no daemon does."""
    line = connected(site.paths.keeper, socket.SOCK_SEQPACKET, 5.0)
    with line:
        return peer_pid(line)


@contextmanager
def never_three(site: Site, *names: str) -> Iterator[None]:
    """Look again and again, for as long as the context lasts: no app ever has more than two revisions alive."""
    seen: dict[str, int] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for name in names or ("shop",):
                with suppress(sqlite3.OperationalError):  # the database is being made
                    alive = {record.revision for record in site.instances(name)}
                    seen[name] = max(seen.get(name, 0), len(alive))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
    assert seen, "nothing was seen"
    assert max(seen.values()) <= 2, seen
