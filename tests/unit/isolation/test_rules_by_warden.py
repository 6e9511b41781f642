"""A daemon asks its warden for rules, and does not wait again for one that hangs."""

import errno
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.isolation import rules_by_warden
from reconciler.isolation.rules_by_warden import RulesByWarden, can_be_asked, holds_builds
from reconciler.isolation.warden import VARIABLE, place_of_rules


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a warden that answers nothing by itself."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "socket"))
    monkeypatch.setattr(rules_by_warden, "_ANSWER_S", 0.01)
    monkeypatch.setattr(rules_by_warden, "_silence", rules_by_warden._Silence())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place_of_rules()))
        listener.listen()
        listener.setblocking(False)
        yield listener


def _asked(listener: socket.socket) -> int:
    """Return how often a warden has been connected to since the last look."""
    times = 0
    try:
        while True:
            listener.accept()[0].close()
            times += 1
    except BlockingIOError:
        return times


def test_a_warden_that_hangs_is_left_alone_and_asked_again_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ask in (RulesByWarden().generation, RulesByWarden().watch, lambda: RulesByWarden().mark_of("x")):
        with pytest.raises(OSError, match="the warden does not answer") as raised:
            ask()
        assert raised.value.errno == errno.ETIMEDOUT
    assert not can_be_asked()
    assert not holds_builds()
    assert _asked(listener) == 1

    monkeypatch.setattr(rules_by_warden, "_LEFT_ALONE_S", 0.0)
    rules_by_warden._silence.until = 0.0
    assert can_be_asked()
    for _ in range(2):
        with pytest.raises(OSError, match="the warden does not answer"):
            RulesByWarden().generation()
    assert _asked(listener) == 3


def test_a_warden_of_an_earlier_version_holds_no_builds(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_by_warden, "_ANSWER_S", 20.0)
    listener.setblocking(True)

    def refuse() -> None:
        with listener.accept()[0] as connection:
            while connection.recv(1 << 16):
                pass
            connection.send(b'{"error": 22, "why": "there is no such request"}')

    with ThreadPoolExecutor(1) as earlier:
        refused = earlier.submit(refuse)
        assert not holds_builds()
        refused.result()
