"""A daemon that listens and does not answer is told apart from one that is not there."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.control.requests import NotFound, Refused
from reconciler.control.socket import NoAnswer, ask


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(0)
        yield server


def test_a_daemon_that_hangs_gives_no_answer(tmp_path: Path) -> None:
    with listening(tmp_path / "s"), pytest.raises(NoAnswer, match=r"nothing came within 0\.05 s"):
        ask(tmp_path / "s", {"do": "restart"}, patience_s=0.05)


def test_a_daemon_that_hangs_and_whose_queue_is_full_gives_no_answer(tmp_path: Path) -> None:
    with listening(tmp_path / "s"), contextlib.ExitStack() as stack:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(str(tmp_path / "s"))
        with pytest.raises(NoAnswer):
            ask(tmp_path / "s", {"do": "restart"}, patience_s=0.05)


@pytest.mark.parametrize("answer", [b"", b'{"done": "half'])
def test_a_daemon_that_ends_before_it_has_answered_gives_no_answer(tmp_path: Path, answer: bytes) -> None:
    with listening(tmp_path / "s") as server:
        thread = threading.Thread(target=_answer, args=(server, answer))
        thread.start()
        with pytest.raises(NoAnswer, match="closed the connection"):
            ask(tmp_path / "s", {"do": "restart"})
        thread.join()


def test_an_answer_is_returned(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as server:
        thread = threading.Thread(target=_answer, args=(server, json.dumps({"done": "it is"}).encode() + b"\n"))
        thread.start()
        assert ask(tmp_path / "s", {"do": "restart"}) == {"done": "it is"}
        thread.join()


@pytest.mark.parametrize(("given", "error"), [("not-found", NotFound), ("refused", Refused), (None, Refused)])
def test_a_request_that_cannot_be_granted_fails_with_its_reason(
    tmp_path: Path, given: str | None, error: type[Refused]
) -> None:
    reason = {} if given is None else {"reason": given}  # an earlier daemon gives none
    answer = json.dumps({"error": "it is not there", **reason}).encode()
    with listening(tmp_path / "s") as server:
        thread = threading.Thread(target=_answer, args=(server, answer + b"\n"))
        thread.start()
        with pytest.raises(Refused, match="it is not there") as told:
            ask(tmp_path / "s", {"do": "restart"})
        thread.join()
    assert (type(told.value), told.value.reason) == (error, given or "refused")


@pytest.mark.parametrize("left", [True, False])
def test_a_daemon_that_is_not_there_is_another_error(tmp_path: Path, left: bool) -> None:
    if left:
        with listening(tmp_path / "s"):
            pass
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        ask(tmp_path / "s", {"do": "restart"})


def _answer(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(answer)
