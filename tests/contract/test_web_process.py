"""The front door by itself: a process that hangs, dies at once or cannot be reached keeps nobody out for good."""

import asyncio
import errno
import fcntl
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

import reconciler.daemon.web_process
from reconciler.daemon.web_process import WebProcess
from reconciler.settings.settings import Api, Settings
from reconciler.settings.tokens import token_of
from reconciler.state.paths import StatePaths
from tests.support.eventually import at_leisure, soon
from tests.support.ports import a_port
from tests.support.site import is_gone
from tests.support.web import fetch


def _settings(tmp_path: Path, api: Api | None = None) -> Settings:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return Settings(manifests=tmp_path, paths=StatePaths(state=state), api=api)


async def _answers(settings: Settings) -> bool:
    return (await asyncio.to_thread(fetch, settings.paths.api, "/api/v1/openapi.json")).status == 200


def test_a_process_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reconciler.daemon.web_process, "_HANGS_AFTER_S", at_leisure(5.0)
    )  # it has to start in that time, too
    settings = _settings(tmp_path)
    told: list[str] = []

    async def story() -> None:
        door = WebProcess(settings, lambda text, _: told.append(text))
        door.open()
        try:
            assert await _answers(settings)
            assert door._process
            hung = door._process.pid
            os.kill(hung, signal.SIGSTOP)
            assert await _answers(settings)
            assert is_gone(hung)
            last = door._process.pid
        finally:
            door.close()
        await soon(lambda: is_gone(last))

    asyncio.run(story())
    assert "SIGKILL" in told[0]


def test_a_process_that_cannot_start_is_tried_again_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(tmp_path)
    told: list[str] = []
    right = sys.executable

    async def story() -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
        door = WebProcess(settings, lambda text, _: told.append(text))
        door.open()
        try:
            answered = asyncio.create_task(_answers(settings))
            await soon(lambda: told)
            monkeypatch.setattr(sys, "executable", right)
            assert await answered
        finally:
            door.close()

    asyncio.run(story())
    assert "could not be started" in told[0]


def test_an_address_in_use_is_taken_as_soon_as_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler.daemon.web_process, "_OPEN_AGAIN_S", 0.1)
    (tmp_path / "token").write_text("x" * 20)
    port = a_port()
    settings = _settings(tmp_path, Api(host="127.0.0.1", port=port, token=tmp_path / "token"))
    told: list[str] = []

    async def story() -> None:
        other = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        door = WebProcess(settings, lambda text, _: told.append(text))
        door.open()
        try:
            assert await _answers(settings)
            other.close()
            await other.wait_closed()
            await soon(lambda: door._tcp)
            assert (await asyncio.to_thread(fetch, port, "/api/v1/apps")).status == 401
            assert await _answers(settings)
        finally:
            door.close()

    asyncio.run(story())
    assert told == [f"cannot open the address of the API, 127.0.0.1:{port}: another process listens there"]


def test_clients_that_send_what_is_no_request_leave_nothing_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 20)
    port = a_port()
    settings = _settings(tmp_path, Api(host="127.0.0.1", port=port, token=tmp_path / "token"))
    handshake = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    def sent(request: bytes) -> bytes:
        with closing(socket.create_connection(("127.0.0.1", port), 60)) as client:
            client.sendall(request)
            return client.recv(4096).partition(b"\r\n")[0]

    async def story() -> None:
        with closing(WebProcess(settings, lambda _text, _then: None)) as door:
            door.open()
            assert await _answers(settings)
            assert await asyncio.to_thread(sent, b"\0\r\n\r\n") == b"HTTP/1.1 400 Bad Request"
            assert await asyncio.to_thread(sent, handshake) == b"HTTP/1.1 401 Unauthorized"

    asyncio.run(story())
    assert settings.paths.web_log.read_text() == ""


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 15, b"two\nlines of a token", b"\xff" * 20, b"x" * 5000])
def test_a_token_that_is_none_is_refused_without_being_told(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "token"
    place.write_bytes(content)
    with pytest.raises(ValueError, match="the token in") as refusal:
        token_of(place)
    assert not content or content.decode("latin-1") not in str(refusal.value)


@pytest.mark.parametrize("taken", ["log", "first copy", "third copy"])
def test_one_that_lacks_descriptors_to_start_leaves_none_open(
    taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[int] = []

    def refused(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def copied(number: int, command: int, lowest: int) -> int:
        if len(copies) == (0 if taken == "first copy" else 2):
            refused()
        copies.append(really_copied(number, command, lowest))
        return copies[-1]

    async def story() -> None:
        door = WebProcess(_settings(tmp_path), lambda _text, _then: None)
        door.open()
        before = open_descriptors()
        if taken == "log":
            monkeypatch.setattr(reconciler.daemon.web_process, "open_output", refused)
        else:
            monkeypatch.setattr(fcntl, "fcntl", copied)
        try:
            with pytest.raises(OSError, match="Too many open files") as told:
                door._spawned()
            assert told.value.errno == errno.EMFILE
            assert open_descriptors() <= before
        finally:
            monkeypatch.undo()
            door.close()

    really_copied = fcntl.fcntl
    asyncio.run(story())


def open_descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}
