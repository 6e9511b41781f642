"""Neither what an app writes, nor what it puts in the place of its log, nor a target that fails stops the log drain."""

import asyncio
import errno
import re
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.daemon.drains.drain import GOOD_AFTER, Bounds
from reconciler.daemon.drains.followed_logs import FollowedLog
from reconciler.daemon.drains.formats import Entry, as_line
from reconciler.daemon.drains.targets import Datagrams, target_of
from reconciler.planning.reason import Reason
from reconciler.serving import logs
from reconciler.settings.settings import Drain
from tests.support.drains import DrainedHost, on_loop, received, receiver, texts
from tests.support.eventually import soon
from tests.support.hostile_files import a_pipe, an_endless_file


@pytest.fixture
def host(tmp_path: Path) -> DrainedHost:
    return DrainedHost(tmp_path)


class InMemory:
    """A target that keeps what it is sent; `failing` is raised by what it is asked next."""

    def __init__(self, *, may_lose: bool = False) -> None:
        self.may_lose = may_lose
        self.taken: list[str] = []
        self.lost: list[str] = []
        self.is_closed_port = False
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()

    def format(self, entry: Entry) -> bytes:
        return entry.text.encode()

    def send(self, line: bytes) -> None:
        self.asked.set()
        self.answers.wait()
        (self.lost if self.is_closed_port else self.taken).append(line.decode())

    def check(self) -> None:
        if self.is_closed_port and self.lost:
            raise OSError(errno.ECONNREFUSED, "Connection refused")

    def close(self) -> None:
        pass


def a_link_to_a_secret(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text("of another app\n")
    path.symlink_to(secret)


def a_directory(path: Path) -> None:
    path.mkdir()


PLACED = [a_pipe, an_endless_file, a_link_to_a_secret, a_directory]


@pytest.mark.parametrize("rotated", ["", ".1"])
@pytest.mark.parametrize("place", PLACED)
@on_loop
async def test_what_is_no_file_in_the_place_of_a_log_is_left_out(
    host: DrainedHost, place: Callable[[Path], None], rotated: str
) -> None:
    log = host.paths.log("blog", "app")
    log.parent.mkdir()
    odd = log.with_name(f"app.log{rotated}")
    place(odd)
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("good\n", app="shop")
            for _ in range(3):
                await look()
            assert texts(syslog) == ["good"]
            odd.rmdir() if odd.is_dir() else odd.unlink()
            host.write("back\n")
            await look()
            assert texts(syslog) == ["back"]


@pytest.mark.parametrize("place", PLACED)
@on_loop
async def test_what_takes_the_place_of_a_log_that_is_read_costs_no_line_before_and_after(
    host: DrainedHost, place: Callable[[Path], None]
) -> None:
    log = host.paths.log("blog", "app")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("one\n")
            await look()
            host.write("two\n")
            log.rename(log.with_name("app.log.1"))
            place(log)
            for _ in range(3):
                await look()
            assert texts(syslog) == ["one", "two"]
            log.rmdir() if log.is_dir() else log.unlink()
            host.write("three\n")
            await look()
            assert texts(syslog) == ["three"]


@on_loop
async def test_what_has_no_name_of_an_app_among_the_logs_is_left_out(host: DrainedHost) -> None:
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            for name in ("evil\n<13>root: x", "..", "UPPER", ".draft"):
                (host.paths.logs / name).mkdir(exist_ok=True)
                (host.paths.logs / name / "app.log").write_text("no\n")
            host.write("good\n")
            await look()
        assert texts(syslog) == ["good"]


# What is a time, a process or a colour in lines of gunicorn and others, and what almost is.
_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"[0001-01-01 00:00:00 +1400] [1] [INFO] ", b"[9999-12-31 23:59:59 -1400] [999999999] [INFO] ",
            b"[2026-11-26 10:00:00 +0000] [0] [INFO] ", b"[2026-11-26 10:00:00 +9999] [7] [X] ", b"\r", b"\0",
            b"\x1b[8mhidden\x1b[0m", b"\xff\xfe", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"x" * 9000, b"\x1b" * 6000,
            b"-----BEGIN PRIVATE KEY-----", b"MESSAGE=forged", b"<0>1 - forged",
        ]
    ),
)  # fmt: skip


# How a message is told from what an app says: nothing that it writes begins another message or field.
SHAPES = {
    "syslog": rb"<14>\w{3} [ \d]\d \d\d:\d\d:\d\d blog/app(\[\d+\])?: [^\x00-\x1f]*",
    "journald": rb"([A-Z_]+=[^\x00-\x1f]*\n){6}MESSAGE=[^\x00-\x1f]*\n",
    "udp://log.example.com:514": rb"<14>1 \d{4}-\d\d-\d\dT\S+Z \S+ blog (-|\d+) app - [^\x00-\x1f]*",
    "file:/var/log/apps.log": rb"\d{4}-\d\d-\d\dT\S+Z blog app [^\x00-\x1f]*\n",
}


@given(st.lists(st.lists(_PIECES, max_size=4).map(b"".join).filter(lambda line: b"\n" not in line), max_size=4))
def test_whatever_an_app_writes_each_line_is_one_printable_message_of_its_own(lines: list[bytes]) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "app.log"
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        log = FollowedLog(app="blog", stream="app", path=file)
        log.open(2**20)
        entries = [read.entry for read in log.read()[0]]
        log.close()
    assert len(entries) == len(lines)
    for to, shape in SHAPES.items():
        target = target_of(Drain(to=to), limit_bytes=2**20, keep=1)
        assert all(re.fullmatch(shape, target.format(entry)) for entry in entries)


@on_loop
async def test_a_line_of_ten_megabytes_is_one_message_and_holds_up_no_other(host: DrainedHost) -> None:
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("x" * 10_000_000 + "\nnext\n")
            host.write("other\n", app="shop")
            while await look():
                pass
        found = texts(syslog)
    assert sorted(found)[:2] == ["next", "other"]
    assert [len(text) for text in found if text.startswith("x")] == [8192 - len("<14>Nov 26 10:00:00 blog/app: ")]


@on_loop
async def test_a_log_that_was_emptied_is_read_from_its_start(host: DrainedHost) -> None:
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("one\ntwo\n")
            await look()
            host.paths.log("blog", "app").write_text("")
            host.write("three\n")
            await look()
        async with host.drained("syslog") as look:
            await look()
        assert texts(syslog) == ["one", "two", "three"]


@on_loop
async def test_the_end_of_a_rotated_log_that_ends_within_a_line_is_passed_on(host: DrainedHost) -> None:
    log = host.paths.log("blog", "app")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            for number in range(4):
                host.write(f"part {number}")
                await look()
                logs.rotate(log, 0, 2)
            host.write("end\n")
            for _ in range(40):
                await look()
        assert {"part 0", "part 1", "end"} <= set(texts(syslog))


@on_loop
async def test_lines_of_logs_that_are_rotated_away_unread_are_counted_and_told_once(host: DrainedHost) -> None:
    log = host.paths.log("blog", "app")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog", bounds=Bounds(look_s=0)) as look:
            for number in range(20):
                host.write("".join(f"{number} {line}\n" for line in range(10)))
                await look()
                logs.rotate(log, 0, 2)
        (reason, text), *others = host.events
        assert reason is Reason.DRAIN_FAILED
        assert "apps write faster" in text
        assert others == []
        dropped = int(re.findall(r"(\d+) lines dropped", host.told("syslog")[1])[0])
        found: list[str] = []
        async with host.drained("syslog") as look:
            for _ in range(20):
                await look()
                found += texts(syslog)
    assert found[-1] == "19 9"
    assert 100 <= dropped <= 200 - len(found)


@pytest.mark.parametrize(
    "record",
    [
        "[]", "{", '{"logs": {"blog/app": [[1]]}}', '{"logs": {"../../etc/app": [[1, 1, 1, 1]]}}',
        '{"logs": {"blog/app": [[INODE, -5, 0, 0]]}, "to": "syslog"}', '{"logs": {"blog/app": [[INODE, "x", 0, 0]]}}',
        '{"logs": {}, "to": "syslog", "problem": [], "dropped": "many", "dropped_at": {}}',
    ],
)  # fmt: skip
@on_loop
async def test_a_record_that_says_nothing_usable_repeats_lines(host: DrainedHost, record: str) -> None:
    host.write("one\n")
    inode = host.paths.log("blog", "app").stat().st_ino
    host.paths.drained.write_text(record.replace("INODE", str(inode)))
    host.told("syslog")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            await look()
        assert texts(syslog) == ["one"]
    assert host.told("syslog")[0] == "ok"


@on_loop
async def test_a_target_that_does_not_answer_is_told_once_while_the_loop_goes_on(host: DrainedHost) -> None:
    target = InMemory()
    target.answers.clear()
    async with host.drained("file:/hangs", target=target, bounds=Bounds(hangs_after_s=0)) as look:
        host.write("one\ntwo\n")
        passing = asyncio.ensure_future(look())
        await soon(target.asked.is_set)
        await soon(lambda: host.events)
        target.answers.set()
        await passing
        for number in range(GOOD_AFTER - 1):
            host.write(f"{number}\n")
            await look()
    assert [reason for reason, _ in host.events] == [Reason.DRAIN_FAILED, Reason.DRAIN_RECOVERED]
    assert "does not answer" in host.events[0][1]
    assert target.taken == ["one", "two", *map(str, range(GOOD_AFTER - 1))]


@on_loop
async def test_a_port_that_is_closed_for_long_costs_no_more_than_what_was_on_its_way(host: DrainedHost) -> None:
    target = InMemory(may_lose=True)
    async with host.drained("udp://log.example.com:514", target=target) as look:
        host.write("first\n")
        await look()
        target.is_closed_port = True
        host.write("sent\nlast\n")
        await look()  # nothing has said yet that the port is closed
        for number in range(10):
            host.write(f"{number}\n")
            await look()
        assert set(target.lost) == {"sent", "last"}
        target.is_closed_port = False
        for _ in range(3):
            await look()
    assert target.taken == ["first", "last", *map(str, range(10))]


@on_loop
async def test_a_log_server_whose_name_leads_elsewhere_by_now_is_followed(host: DrainedHost) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
            server.settimeout(30)
        addresses = [server.getsockname() for server in servers]

        def connect() -> socket.socket:
            connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            connected.connect(addresses.pop(0))
            return connected

        target = Datagrams(connect, as_line, most_bytes=2048, may_lose=True, renewed_every_s=0)
        async with host.drained("udp://log.example.com:514", target=target) as look:
            for number, server in enumerate(servers):
                host.write(f"line {number}\n")
                await look()
                assert server.recv(4096).endswith(f"line {number}\n".encode())


@on_loop
async def test_a_name_that_takes_long_to_look_up_holds_nothing_up(
    host: DrainedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, look_up = threading.Event(), socket.getaddrinfo

    def slow(host: str, port: int, **options: Any) -> object:
        found.wait()
        return look_up(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        async with host.drained(f"udp://localhost:{server.getsockname()[1]}") as look:
            host.write("one\n")
            assert not await look()
            found.set()
            messages: list[str] = []
            async with asyncio.timeout(60):
                while not messages:  # it is looked up in a thread, which takes its time
                    await look()
                    messages = received(server)
                    await asyncio.sleep(0.01)
        (message,) = messages
        assert message.endswith(" one")
