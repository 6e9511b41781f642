"""The keeper: listeners stay open while no daemon holds them, whoever else is gone."""

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from reconciler.linux.process_table import sockets_of
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Listen, Unlisten
from reconciler.serving.keeper import Keeper, dismiss
from tests.contract.machine import a_life, on_the_loop
from tests.contract.test_adoption import a_life_that_ends
from tests.support.eventually import eventually, soon
from tests.support.ports import a_port
from tests.support.site import Site, is_gone
from tests.world import address_of

HERE = "127.0.0.1"


def a_listener() -> tuple[Address, socket.socket]:
    opened = socket.create_server((HERE, 0))
    return Address(host=HERE, port=opened.getsockname()[1]), opened


def is_open(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((HERE, port)) == 0


@on_the_loop
async def test_what_was_kept_is_given_to_the_next_daemon_and_what_was_dropped_is_not(tmp_path: Path) -> None:
    place = tmp_path / ("deep" * 50) / "keeper.sock"
    place.parent.mkdir()
    first = Keeper(place, patience_s=60)
    (kept, one), (dropped, other) = a_listener(), a_listener()
    try:
        assert first.take() == []
        first.keep("blog", kept, one.fileno())
        first.keep("shop", dropped, other.fileno())
        first.drop("shop", dropped)
        first.close()
        one.close()
        other.close()
        assert is_open(kept.port)
        eventually(lambda: not is_open(dropped.port))
        second = Keeper(place, patience_s=60)
        ((app, address, taken),) = second.take()
        assert (app, address) == ("blog", kept)
        assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not os.get_inheritable(taken.fileno())
        taken.close()
        second.close()
    finally:
        dismiss(place)
    eventually(lambda: not is_open(kept.port))


@on_the_loop
async def test_thousands_are_kept_and_given_back(tmp_path: Path) -> None:
    place = tmp_path / "keeper.sock"
    first = Keeper(place, patience_s=60)
    address, opened = a_listener()
    names = [f"app-{number}" for number in range(3000)]
    try:
        for name in names:
            first.keep(name, address, opened.fileno())
        await soon(lambda: not first._unsent)
        first.close()
        second = Keeper(place, patience_s=60)
        found = second.take()
        assert [app for app, _, _ in found] == names
        for *_, taken in found:
            taken.close()
        second.close()
    finally:
        dismiss(place)
        opened.close()


@on_the_loop
async def test_a_keeper_that_was_killed_is_replaced_and_told_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.serving.keeper._START_AGAIN_S", 0.0)
    place = tmp_path / "keeper.sock"
    daemon = Keeper(place, patience_s=60)
    address, opened = a_listener()
    try:
        daemon.keep("blog", address, opened.fileno())
        killed = daemon._pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await soon(lambda: daemon._pid != killed and daemon._connection is not None and not daemon._unsent)
        daemon.close()
        opened.close()
        assert is_open(address.port)
    finally:
        dismiss(place)


@on_the_loop
async def test_a_keeper_ends_when_no_daemon_comes(tmp_path: Path) -> None:
    place = tmp_path / "keeper.sock"
    daemon = Keeper(place, patience_s=0.2)
    address, opened = a_listener()
    daemon.keep("blog", address, opened.fileno())
    started = daemon._pid
    assert started is not None
    daemon.close()
    opened.close()
    await soon(lambda: os.waitpid(started, os.WNOHANG) == (started, 0))
    assert not is_open(address.port)


@on_the_loop
async def test_a_host_where_no_keeper_can_be_started_goes_on(tmp_path: Path) -> None:
    daemon = Keeper(tmp_path / "missing" / "keeper.sock", patience_s=60)
    address, opened = a_listener()
    assert daemon.take() == []
    daemon.keep("blog", address, opened.fileno())
    daemon.drop("blog", address)
    daemon.close()
    opened.close()


@on_the_loop
async def test_a_connection_to_an_app_without_an_instance_waits_while_no_daemon_is_there(site: Site) -> None:
    address = Address(host=HERE, port=a_port())
    with a_life(site, kept=True) as machine:
        await machine.do(Listen(address=address, cause="test"))
    with socket.create_connection((HERE, address.port)), a_life(site, kept=True) as machine:
        assert machine.seen().listeners == {address}
        assert machine.host.names() == {"blog"}
        await machine.do(Unlisten(address=address, cause="test"))
    eventually(lambda: not is_open(address.port))


@on_the_loop
async def test_a_master_that_dies_while_no_daemon_is_there_leaves_its_listener(site: Site) -> None:
    app, _ = await a_life_that_ends(site, kept=True)
    for process in site.marked():
        os.kill(process, signal.SIGKILL)
    await soon(lambda: not site.marked())
    with socket.create_connection((HERE, address_of(app).port)), a_life(site, kept=True) as machine:
        assert machine.seen().listeners == {app.address}


@on_the_loop
async def test_an_instance_that_listens_on_another_socket_is_stranded(site: Site) -> None:
    app, _ = await a_life_that_ends(site)  # without a keeper
    keeper = Keeper(site.paths.keeper, patience_s=60)
    beside = socket.socket()
    beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    beside.bind((HERE, address_of(app).port))
    beside.listen()
    keeper.keep("blog", address_of(app), beside.fileno())
    await soon(lambda: not keeper._unsent)
    keeper.close()
    beside.close()
    with a_life(site, kept=True) as machine:
        assert machine.only().detached


@on_the_loop
async def test_a_keeper_that_hangs_is_ended_so_that_its_addresses_can_be_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "keeper.sock"
    first = Keeper(place, patience_s=60)
    kept, opened = a_listener()
    try:
        assert first.take() == []
        first.keep("blog", kept, opened.fileno())
        keeper, inode = first._pid, os.fstat(opened.fileno()).st_ino
        assert keeper is not None
        await soon(lambda: inode in sockets_of(keeper).values())
        first.close()
        opened.close()
        os.kill(keeper, signal.SIGSTOP)
        assert is_open(kept.port)
        monkeypatch.setattr("reconciler.serving.keeper._ANSWER_S", 0.5)
        second = Keeper(place, patience_s=60)
        assert second.take() == []
        assert is_gone(keeper)
        assert not is_open(kept.port)
        second.close()
    finally:
        if first._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first._pid, signal.SIGKILL)
