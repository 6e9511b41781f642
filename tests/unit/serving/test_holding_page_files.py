"""A holding page is for everyone: it shows no file that a link leads to and that is not."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from reconciler.serving.holding import Holding
from tests.contract.machine import on_the_loop


async def _answer(listener: socket.socket) -> str:
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.decode()


@on_the_loop
async def test_a_holding_page_shows_no_private_file_that_a_link_leads_to(tmp_path: Path) -> None:
    state, page = tmp_path / "state", tmp_path / "page"
    state.mkdir()
    for name in ("reconciler.db", "lock", "key"):
        (state / name).write_text("the key")
        (state / name).chmod(0o644)
    private = tmp_path / "private"
    private.write_text("private")
    private.chmod(0o640)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        holding = Holding(listener, str(page))
        for target in (state / "key", private, Path("/etc/shadow")):
            page.symlink_to(target)
            assert "Back in a moment" in await _answer(listener)
            page.unlink()
        page.write_text("its own")
        page.chmod(0o640)
        assert "its own" in await _answer(listener)
        page.unlink()
        page.symlink_to(private)
        assert "Back in a moment" in await _answer(listener)
        private.chmod(0o644)
        assert "private" in await _answer(listener)
        holding.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives links away")
@on_the_loop
async def test_a_link_that_is_made_anew_by_another_user_is_judged_anew(tmp_path: Path) -> None:
    page, shown = tmp_path / "page", tmp_path / "closed/shown"
    shown.parent.mkdir(mode=0o700)
    shown.write_text("shown")
    shown.chmod(0o644)
    page.symlink_to(shown)
    os.lchown(page, 4711, 4711)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        holding = Holding(listener, str(page))
        assert "Back in a moment" in await _answer(listener)
        os.lchown(page, 0, 0)
        assert "shown" in await _answer(listener)
        holding.close()
