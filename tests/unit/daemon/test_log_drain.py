"""The log drain passes each line on once, whatever happens to the log, the daemon or the target."""

import os
import re
import socket
import stat
from pathlib import Path

import pytest

from reconciler.daemon.drains.drain import GOOD_AFTER, Bounds
from reconciler.planning.reason import Reason
from reconciler.serving import logs
from tests.support.drains import DrainedHost, on_loop, received, receiver, texts


@pytest.fixture
def host(tmp_path: Path) -> DrainedHost:
    return DrainedHost(tmp_path)


@on_loop
async def test_a_line_reaches_syslog_with_its_time_app_and_stream_printable_and_redacted(host: DrainedHost) -> None:
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("token hunter2-hunter2 \x1b[31mred\x1b[0m \x1b[2J end\n")
            host.write("127.0.0.1 - - [26/Nov/2026:10:00:00 +0000] GET /\n", stream="access")
            await look()
        app, access = received(syslog)
        assert re.fullmatch(r"<14>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d blog/app: .*", app)
        assert "hunter2" not in app
        assert "red" in app
        assert app.endswith(r"\x1b[2J end")
        assert "blog/access: 127.0.0.1 - - [26/Nov/2026:10:00:00 +0000] GET /" in access


@on_loop
async def test_journald_receives_fields(host: DrainedHost) -> None:
    with receiver(host.socket) as journal:
        async with host.drained("journald") as look:
            host.write("[2026-11-26 10:00:00 +0000] [42] [INFO] Booting\n")
            await look()
        (entry,) = received(journal)
        assert entry.endswith("\n")
        fields = dict(line.split("=", 1) for line in entry.splitlines())
        assert fields == {
            "PRIORITY": "6",
            "SYSLOG_FACILITY": "1",
            "SYSLOG_IDENTIFIER": "blog",
            "RECONCILER_APP": "blog",
            "RECONCILER_STREAM": "app",
            "RECONCILER_TIME": "2026-11-26T10:00:00.000Z",
            "MESSAGE": "[42] [INFO] Booting",
        }


@on_loop
async def test_udp_receives_rfc_5424_cut_to_what_receivers_take(host: DrainedHost) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        async with host.drained(f"udp://127.0.0.1:{server.getsockname()[1]}") as look:
            host.write("[2026-11-26 10:00:00 +0000] [42] [INFO] short\n" + "é" * 3000 + "\n")
            await look()
        short, long = received(server)
    head = f"<14>1 2026-11-26T10:00:00.000Z {socket.gethostname()} blog 42 app - "
    assert short == head + "[42] [INFO] short"
    assert len(long.encode()) <= 2048
    assert long.endswith("é [cut]")


@on_loop
async def test_a_line_longer_than_logs_are_read_is_cut_and_marked(host: DrainedHost) -> None:
    with receiver(host.socket) as journal:
        async with host.drained("journald") as look:
            host.write("x" * 300_000 + "\nnext\n")
            await look()
        long, following = (entry.rpartition("MESSAGE=")[2] for entry in received(journal))
        assert long == "x" * 8192 + " [cut]\n"
        assert following == "next\n"


@on_loop
async def test_the_first_drain_begins_with_what_is_written_from_then_on_and_reads_new_apps_whole(
    host: DrainedHost,
) -> None:
    host.write("old\n")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("new\n")
            host.write("first\n", app="shop")
            await look()
            await look()
        assert texts(syslog) == ["new", "first"]


@on_loop
async def test_a_restart_goes_on_where_it_was_across_rotations(host: DrainedHost) -> None:
    log = host.paths.log("blog", "app")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("one\ntwo\n")
            await look()
        host.write("three\n")
        logs.rotate(log, 0, 5)
        host.write("four\n")
        logs.rotate(log, 0, 5)
        host.write("five\n")
        async with host.drained("syslog") as look:
            await look()
        assert texts(syslog) == ["one", "two", "three", "four", "five"]


@on_loop
async def test_lines_not_sent_yet_are_sent_after_a_restart(host: DrainedHost) -> None:
    async with host.drained("syslog") as look:
        host.write("one\ntwo\n")
        await look()
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            await look()
        assert texts(syslog) == ["one", "two"]


@on_loop
async def test_an_unreadable_record_repeats_lines_rather_than_losing_them(host: DrainedHost) -> None:
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("one\n")
            await look()
        host.paths.drained.write_text('{"logs": [1]}')
        async with host.drained("syslog") as look:
            await look()
        assert texts(syslog) == ["one", "one"]


@on_loop
async def test_an_absent_target_is_told_once_and_so_is_its_return(host: DrainedHost) -> None:
    async with host.drained("syslog") as look:
        for number in range(6):
            host.write(f"line {number}\n")
            await look()
        assert [reason for reason, _ in host.events] == [Reason.DRAIN_FAILED]
        assert "No such file" in host.events[0][1]
        assert host.told("syslog")[0] == "warn"
        with receiver(host.socket) as syslog:
            found: list[str] = []
            for number in range(6, 6 + GOOD_AFTER):
                host.write(f"line {number}\n")
                assert [reason for reason, _ in host.events] == [Reason.DRAIN_FAILED]
                await look()
                found += texts(syslog)
            assert found == [f"line {number}" for number in range(6 + GOOD_AFTER)]
    assert [reason for reason, _ in host.events] == [Reason.DRAIN_FAILED, Reason.DRAIN_RECOVERED]
    assert "no line was dropped" in host.events[1][1]
    assert host.told("syslog") == ("ok", "logs are passed on to syslog")


@on_loop
async def test_beyond_the_backlog_the_oldest_lines_are_dropped_and_counted(host: DrainedHost) -> None:
    async with host.drained("syslog", bounds=Bounds(waiting_bytes=1000)) as look:
        host.write("".join(f"line {number:04}\n" for number in range(500)))
        await look()
        with receiver(host.socket) as syslog:
            found: list[str] = []
            for number in range(8):
                host.write(f"new {number}\n")
                await look()
                found += texts(syslog)
            for _ in range(GOOD_AFTER):
                await look()
                found += texts(syslog)
    kept = [line for line in found if line.startswith("line")]
    assert found == [
        *(f"line {number:04}" for number in range(500 - len(kept), 500)),
        *(f"new {number}" for number in range(8)),
    ]
    assert 10 < len(kept) < 50
    assert f"{500 - len(kept)} lines dropped" in host.events[-1][1]
    assert host.told("syslog") == ("warn", f"logs are passed on to syslog; {500 - len(kept)} lines dropped so far")


@on_loop
async def test_a_full_socket_holds_lines_until_there_is_room(host: DrainedHost) -> None:
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.write("".join(f"line {number}\n" for number in range(100)))
            await look()
            found: list[str] = []
            while len(found) < 100 and (taken := texts(syslog)):
                found += taken
                await look()
    assert found == [f"line {number}" for number in range(100)]


@on_loop
async def test_a_syslog_that_is_started_again_misses_nothing(host: DrainedHost) -> None:
    async with host.drained("syslog") as look:
        for number in range(3):
            with receiver(host.socket) as syslog:
                host.write(f"line {number}\n")
                await look()
                assert texts(syslog) == [f"line {number}"]
            host.socket.unlink()
    assert host.events == []


@on_loop
async def test_the_file_target_is_private_and_rotated(host: DrainedHost) -> None:
    file = host.root / "apps.log"
    async with host.drained(f"file:{file}", limit=4096, streams=("app",)) as look:
        host.write("".join(f"line {number:03}\n" for number in range(200)))
        host.write("not wanted\n", stream="access")
        await look()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = [each for each in (file.with_name(f"apps.log.{number}") for number in (3, 2, 1)) if each.exists()]
    lines = "".join(each.read_text() for each in [*kept, file]).splitlines()
    assert len(kept) > 1
    assert all(each.stat().st_size <= 4096 for each in [*kept, file])
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z blog app ", "", line) for line in lines] == [
        f"line {number:03}" for number in range(200)
    ]


@on_loop
async def test_the_file_target_is_never_a_link(host: DrainedHost) -> None:
    other = host.root / "other"
    other.write_text("kept\n")
    file = host.root / "apps.log"
    file.symlink_to(other)
    async with host.drained(f"file:{file}") as look:
        host.write("one\n")
        for _ in range(3):
            await look()
        assert other.read_text() == "kept\n"
        assert [reason for reason, _ in host.events] == [Reason.DRAIN_FAILED]
        file.unlink()
        await look()
    assert file.read_text().endswith(" blog app one\n")


@on_loop
async def test_a_file_that_another_program_moved_is_made_again(host: DrainedHost) -> None:
    file = host.root / "apps.log"
    async with host.drained(f"file:{file}") as look:
        host.write("one\n")
        await look()
        os.replace(file, host.root / "moved")  # noqa: PTH105
        host.write("two\n")
        await look()
    assert file.read_text().endswith(" two\n")
    assert (host.root / "moved").read_text().endswith(" one\n")


@on_loop
async def test_a_closed_udp_port_is_told_and_its_last_line_sent_again(host: DrainedHost) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        address = server.getsockname()
    async with host.drained(f"udp://127.0.0.1:{address[1]}") as look:
        host.write("one\n")
        await look()
        await look()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(address)
            server.settimeout(30)
            await look()
            assert server.recv(4096).endswith(b" one")


@on_loop
async def test_what_processes_print_is_passed_on_across_rotations_in_place_and_restarts(host: DrainedHost) -> None:
    log = host.paths.log("blog", "worker.1")
    host.write("before\n", stream="worker.1")
    with receiver(host.socket) as syslog:
        async with host.drained("syslog") as look:
            host.processes = {"blog": {"worker.1", "beat.1"}}
            host.write("hunter2-hunter2 one\n", stream="worker.1")
            await look()
            host.write("two\n", stream="worker.1")
            logs.rotate_in_place(log, 0, 5)
            host.write("3\n", stream="worker.1")
            host.write("first\n", stream="beat.1")
            await look()
            await look()
            told, *others = received(syslog)
            assert " blog/worker.1: " in told
            assert "hunter2" not in told
            heads = (message.split(" blog/", 1)[1] for message in others)
            assert sorted(heads) == ["beat.1: first", "worker.1: 3", "worker.1: two"]
        host.write("after\n", stream="worker.1")
        host.processes = {}
        async with host.drained("syslog") as look:
            await look()
        assert texts(syslog) == ["after"]


@on_loop
async def test_a_drain_of_access_logs_alone_leaves_processes_out(host: DrainedHost) -> None:
    host.processes = {"blog": {"worker.1"}}
    with receiver(host.socket) as syslog:
        async with host.drained("syslog", streams=("access",)) as look:
            host.write("one\n", stream="worker.1")
            await look()
        assert texts(syslog) == []
