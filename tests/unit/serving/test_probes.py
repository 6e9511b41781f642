"""Probes of a serving instance: over TLS where it has a certificate, and no verdict on workers that are only busy."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext

import pytest

from reconciler.planning.address import Address
from reconciler.planning.apps.app import Liveness
from reconciler.planning.apps.revision import Health
from reconciler.serving.probes import Probe, Work, _failure, _watch
from tests.contract.machine import on_the_loop
from tests.fakes import authority
from tests.support.eventually import soon
from tests.support.lingering import give_away, lingering, passed

__all__ = ["passed"]

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def serving(answer: bytes | None, tls: SSLContext | None = None) -> AsyncIterator[tuple[Probe, list[bytes]]]:
    """A server that answers so, or never; what it was asked is listed."""
    asked: list[bytes] = []
    over = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            asked.append(await reader.read(1024))
            if answer is None:
                await over.wait()
            else:
                writer.write(answer)

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    async with server:
        address = Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        liveness = Liveness(interval_s=0.01, failures=2)
        health = Health(path="/up", timeout_s=5.0 if answer else 0.05)
        yield Probe(address=address, health=health, host="h", liveness=liveness, busy_s=3600.0), asked
        over.set()


@pytest.mark.parametrize("known", [True, False], ids=["as the manifest says", "unknown to the manifest"])
@on_the_loop
async def test_an_app_with_a_certificate_is_probed_over_tls(tmp_path: Path, known: bool) -> None:
    async with serving(_OK, authority.made_in(tmp_path).serving) as (probe, asked):
        assert await _failure(replace(probe, tls=known)) is None
        assert asked[-1].startswith(b"GET /up HTTP/1.1")


@on_the_loop
async def test_what_is_neither_http_nor_tls_is_told_so() -> None:
    async with serving(b"220 mail\r\n") as (probe, _):
        assert "was answered neither in HTTP nor in TLS" in str(await _failure(probe))


@on_the_loop
async def test_a_late_answer_of_workers_that_are_all_busy_proves_nothing() -> None:
    async with serving(None) as (probe, asked), watching(probe, lambda: ((1, 5.0), (2, 7.0))) as told:
        await soon(lambda: len(asked) >= 5)
        assert told == []


@pytest.mark.parametrize("work", [(), ((1, 5.0), (0, 7.0))], ids=["no worker counts", "one is idle"])
@on_the_loop
async def test_a_late_answer_beside_an_idle_worker_is_a_failure(work: Work) -> None:
    async with serving(None) as (probe, _), watching(probe, lambda: work) as told:
        await soon(lambda: told)
        assert told[0] == "GET /up did not answer within 0.05 s, 2 times in a row"


@on_the_loop
async def test_workers_that_are_busy_with_one_request_for_longer_than_gunicorn_allows_are_hung() -> None:
    async with (
        serving(None) as (probe, _),
        watching(replace(probe, busy_s=0.1), lambda: ((1, 5.0),)) as told,
    ):
        await soon(lambda: told)


@pytest.mark.usefixtures("passed")
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\n\r\n", b""], ids=["in its answer", "before"])
@on_the_loop
async def test_an_app_that_sends_open_files_is_told_so_and_holds_up_nothing(
    tmp_path: Path, first: bytes, tls: bool
) -> None:
    path = tmp_path / "app.sock"
    liveness, health = Liveness(interval_s=0.01, failures=2), Health(path="/up", timeout_s=60.0)
    probe = Probe(address=Address(host=str(path), port=0), health=health, host="h", liveness=liveness, tls=tls)
    assert probe.address.path == str(path)
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        failure = asyncio.create_task(_failure(probe))
        accepted, _ = await asyncio.get_running_loop().sock_accept(listening)
        with accepted:
            if first:
                accepted.send(first)
            give_away(accepted, b"x", given)
            said = await failure
            assert said is not None
            if not (tls and first):  # what comes before the files is no TLS
                assert said == "GET /up failed: it sent open files"


@contextlib.asynccontextmanager
async def watching(probe: Probe, work: Callable[[], Work]) -> AsyncIterator[list[str | None]]:
    """What is told of a probed instance whose workers are at this."""
    told: list[str | None] = []
    watch = asyncio.create_task(_watch(probe, lambda _: None, told.append, work))
    try:
        yield told
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
