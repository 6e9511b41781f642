"""A module that is imported in vain is loaded by its first use, once, whoever imported it before or after."""

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.linux.late_modules import loaded_late

SLOW = """\
import time
BEGUN = True
time.sleep(0.05)
DONE = True
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "slow_module_of_a_test"
    (tmp_path / f"{name}.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_a_module_is_loaded_by_the_first_look_at_its_contents(slow: str) -> None:
    with loaded_late(slow):
        early = importlib.import_module(slow)
    assert vars(early).keys().isdisjoint({"BEGUN", "DONE"})
    assert early.DONE
    after = importlib.import_module(slow)
    assert after is not early
    assert after.BEGUN


def test_other_threads_wait_until_a_module_is_loaded(slow: str) -> None:
    with loaded_late(slow):
        early = importlib.import_module(slow)
    with ThreadPoolExecutor(8) as threads:
        begun = threads.map(lambda _: (early.BEGUN, early.DONE), range(8))
        assert list(begun) == [(True, True)] * 8
    assert isinstance(importlib.import_module(slow), type(sys))


def test_a_module_without_what_is_asked_for_says_so(slow: str) -> None:
    with loaded_late(slow):
        early = importlib.import_module(slow)
    with pytest.raises(AttributeError):
        early.absent  # noqa: B018  to look is what is tried


def test_a_socket_that_is_compared_with_those_of_tls_does_not_load_it() -> None:
    code = (
        "import socket, sys\n"
        "from reconciler.linux.late_modules import loaded_late\n"
        "with loaded_late('ssl', 'asyncio.sslproto'):\n"
        "    import asyncio\n"
        "async def story():\n"
        "    one, other = socket.socketpair()\n"
        "    with one, other:\n"
        "        one.setblocking(False)\n"
        "        other.setblocking(False)\n"
        "        await asyncio.get_running_loop().sock_sendall(one, b'x')\n"
        "        assert await asyncio.get_running_loop().sock_recv(other, 1) == b'x'\n"
        "asyncio.run(story())\n"
        "assert '_ssl' not in sys.modules\n"
        "import ssl\n"
        "with socket.socket() as plain:\n"
        "    context = ssl.create_default_context()\n"
        "    made = context.wrap_socket(plain, server_hostname='x', do_handshake_on_connect=False)\n"
        "    assert isinstance(made, ssl.SSLSocket) and isinstance(made, asyncio.base_events.ssl.SSLSocket)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
