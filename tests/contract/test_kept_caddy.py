"""The Caddy that the daemon keeps: there is one of them, whenever its daemon was killed."""

import asyncio
import socket
from pathlib import Path

import pytest

from reconciler.linux.process_identity import start_ticks
from reconciler.planning.routing.caddy import Abilities, whole
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing
from reconciler.routing.admin import ProxyError
from reconciler.routing.kept_caddy import ROOT, KeptCaddy, dismiss, kept_pid
from tests.support.ports import a_port
from tests.support.proxies import CADDIES, needs_caddy, newest_caddy, version

pytestmark = [needs_caddy]


def test_one_whose_daemon_was_killed_before_it_listened_gives_way_to_the_next(tmp_path: Path) -> None:
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    route = Route(app="shop", routing=Routing(domains=("shop.localhost",), tls="off"), upstream="127.0.0.1:9")
    config = whole((route,), front, Abilities.of(()), str(tmp_path / "proxy.log"))

    async def story() -> None:
        before = KeptCaddy(tmp_path, newest_caddy(), lambda: None)
        await before.start(config)
        first = kept_pid(tmp_path)
        assert first is not None
        before.close()
        (tmp_path / "admin.sock").unlink()  # as if it had not come that far
        after = KeptCaddy(tmp_path, newest_caddy(), lambda: None)
        after.adopt()
        assert not after.running
        await after.start(config)
        assert kept_pid(tmp_path) not in {None, first}
        assert start_ticks(first) is None
        await after.end()

    try:
        asyncio.run(story())
    finally:
        dismiss(tmp_path)


@pytest.mark.parametrize("program", CADDIES)
@pytest.mark.parametrize(
    ("missing", "is_another"),
    [
        (("intermediate.key",), False),
        (("root.key", "intermediate.crt", "intermediate.key"), True),
        (("root.key", "intermediate.key"), True),
    ],
)
def test_one_that_was_killed_as_it_made_its_authority_starts_again_and_keeps_what_has_a_key(
    tmp_path: Path, program: str, missing: tuple[str, ...], is_another: bool
) -> None:
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    route = Route(app="shop", routing=Routing(domains=("shop.localhost",)), upstream="127.0.0.1:9")
    config = whole((route,), front, Abilities.of(version(program)), str(tmp_path / "proxy.log"))

    async def story() -> None:
        caddy = KeptCaddy(tmp_path, program, lambda: None)
        await caddy.start(config)
        await caddy.end()
        before = (tmp_path / ROOT).read_bytes()
        for name in missing:
            (tmp_path / ROOT).with_name(name).unlink()
        await caddy.start(config)
        assert ((tmp_path / ROOT).read_bytes() != before) is is_another
        await caddy.end()

    try:
        asyncio.run(story())
    finally:
        dismiss(tmp_path)


def test_one_that_cannot_start_says_why_wherever_its_version_writes_that(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        front = Front(http=taken.getsockname()[1], https=a_port(), address="127.0.0.1")
        route = Route(app="shop", routing=Routing(domains=("shop.localhost",), tls="off"), upstream="127.0.0.1:9")

        async def story(directory: Path, program: str) -> None:
            config = whole((route,), front, Abilities.of(version(program)), str(directory / "proxy.log"))
            ended: list[None] = []
            caddy = KeptCaddy(directory, program, lambda: ended.append(None))
            for _ in range(2):
                with pytest.raises(ProxyError, match="address already in use"):
                    await caddy.start(config)
            assert ended == []  # as news it would interrupt the very action that says why

        for number, program in enumerate(CADDIES):
            asyncio.run(story(tmp_path / str(number), program))
