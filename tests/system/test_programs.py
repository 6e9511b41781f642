"""Programs that are not gunicorn, in any language: handed over, rolled back, restarted, put to sleep, adopted."""

import http.client
import os
import signal
import socket
import threading
from contextlib import closing
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.load import ask, under_load
from tests.support.programs import EVERYDAY, PHP_FPM, node, python
from tests.support.site import Site, get, is_gone

SETTINGS = {"settle_s": 0.05}


def child_of(pid: int) -> int:
    """The program below a forwarder."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_program_is_handed_over_under_load_and_a_release_that_cannot_start_never_serves(site: Site) -> None:
    """Every kind is, in `test_languages.py`."""
    kind = next(each for each in EVERYDAY if each.program)
    port = kind.app(site, "blog")
    site.live()
    eventually(site.serves("blog", "1", port))
    with under_load(port) as load:
        kind.write(site, "blog", "2")
        eventually(site.serves("blog", "2", port))
        kind.broken_release(site, "blog")
        eventually(lambda: site.told("blog")["state"] == "degraded")
        load.await_more(20)
        assert kind.why in site.told("blog")["message"]
        kind.write(site, "blog", "3")
        eventually(site.serves("blog", "3", port))
    assert load.failed == {}
    assert set(load.bodies) == {"1", "2", "3"}


def test_a_killed_program_is_restarted_no_connection_is_refused_and_clients_that_leave_cost_nothing(
    site: Site,
) -> None:
    kind = python("socket")
    port = kind.app(site, "blog")
    site.live()
    eventually(site.serves("blog", "1", port))
    for victim in (child_of, lambda pid: pid):
        before = site.pid("blog")
        child = child_of(before)
        with under_load(port) as load:
            os.kill(victim(before), signal.SIGKILL)
            site.await_successor("blog", before)
            load.await_more(20)
        assert is_gone(child)
        assert load.outcomes["refused"] == 0
        assert sum(load.failed.values()) <= 2  # those that were being answered
    for said in (b"", b"GET / HT", b"\x16\x03\x01nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), 60) as connection:
                connection.sendall(said)
    assert get(port) == "1"
    pid = site.pid("blog")
    eventually(lambda: sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) < 20)


def test_what_is_under_way_is_finished_by_the_instance_that_began_it(site: Site) -> None:
    """The program knows nothing of SIGTERM and would end at once: it is told only when nothing is under way."""
    kind = python("descriptor")
    port = kind.app(site, "blog")
    site.live()
    eventually(site.serves("blog", "1", port))
    before, answers = site.pid("blog"), list[str]()
    slow = threading.Thread(target=lambda: answers.append(get(port, "/slow?1")))
    slow.start()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as kept:
        kept.request("GET", "/")
        assert kept.getresponse().read() == b"1"
        kind.write(site, "blog", "2")
        eventually(lambda: ask(port)[1] == "2")
        kept.request("GET", "/")  # on a connection that the old instance keeps
        answer = kept.getresponse()
        assert (answer.read(), answer.getheader("Connection")) == (b"1", "close")
    slow.join()
    assert answers == ["1"]
    site.await_successor("blog", before)


def test_a_program_sleeps_wakes_and_is_adopted_by_the_next_daemon(site: Site) -> None:
    kind = python("port")
    port = kind.app(site, "blog", idle_after="1s", stop_timeout="5s")
    daemon = site.live()
    eventually(lambda: site.told("blog")["state"] == "sleeping")
    assert get(port) == "1"
    eventually(lambda: site.told("blog")["state"] == "running")
    site.manifest("blog", **{**kind.fields, "port": port, "health": {"path": "/"}})
    eventually(lambda: len([kind for _, kind, _ in site.events("blog") if kind == "ready"]) == 3)
    site.await_settled("blog")
    before = site.pid("blog")
    site.end(daemon, signal.SIGKILL)
    assert get(port) == "1"
    site.live()
    site.await_settled("blog")
    assert site.pid("blog") == before
    eventually(lambda: f"python3 {before} keeps serving" in [text for _, _, text in site.events("blog")])


def test_a_build_command_runs_once_and_what_cannot_be_built_or_started_is_said_with_what_to_do(site: Site) -> None:
    kind = node("socket") if node("socket").program else python("socket")
    build = ["sh", "-c", "echo built >> built.txt && pwd > where.txt && env > env.txt"]
    port = kind.app(site, "blog", build=build, release="cat built.txt", env={"SECRET_WORD": "hush"})
    kind.app(site, "silent", command=["sleep", "60"], listen="port", health={"path": "/", "start_timeout": "3s"})
    if not PHP_FPM.program:
        kind.app(site, "absent", command=["php-fpm", "-F"], health={"start_timeout": "30s"})
    site.live()
    eventually(site.serves("blog", "1", port))
    (code,) = site.paths.builds("blog").glob("*/code")
    assert (code / "built.txt").read_text() == "built\n"
    assert "hush" not in (code / "env.txt").read_text()
    site.manifest("blog", **{**kind.fields, "port": port, "build": ["false"]})
    eventually(lambda: "the build command failed" in site.told("blog")["message"])
    assert get(port) == "1"
    if not PHP_FPM.program:
        eventually(lambda: "install the package php-fpm" in site.told("absent")["message"])
    eventually(lambda: "it does not listen at $PORT" in site.told("silent")["message"])
