"""What a process tries from inside with files, where nothing keeps it from them."""

import errno
import os
import socket
from pathlib import Path

import pytest

from reconciler.isolation import tries
from reconciler.planning.isolation.confinement import Confinement


@pytest.fixture(autouse=True)
def _nothing_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_SYSTEM", ())
    monkeypatch.setattr(tries, "_SECRET", ())


def _through(**given: tuple[str, ...]) -> tuple[int, list[str]]:
    count, through = tries.got_through(Confinement(isolation="user", uid=os.getuid() + 1, **given))  # type: ignore[arg-type]
    return count, [name for name in through["user"] if name != "have the daemon's user"]


def test_what_is_not_refused_is_told_by_its_name_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other").touch()
    (tmp_path / "full/one").touch()
    (tmp_path / "empty").mkdir()
    secret, full, empty, gone = (str(tmp_path / name) for name in ("secret", "full", "empty", "gone"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
        server.listen()
        count, names = _through(
            shut=(secret, full, empty, gone, str(tmp_path / "server")), alone=(full, empty, gone), fixed=(empty, gone)
        )
    assert count == 11
    assert names == [
        f"read {secret}", f"read {full}", f"read {tmp_path}/server", f"see other apps in {full}", f"write in {empty}",
    ]  # fmt: skip
    assert list(Path(empty).iterdir()) == []


def test_what_an_earlier_try_has_left_and_a_lack_of_the_kernel_refuse_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / tries._PROBE).touch()
    assert _through(fixed=(str(tmp_path),))[1] == [f"write in {tmp_path}"]
    assert list(tmp_path.iterdir()) == []

    def short(*_: object) -> None:
        raise OSError(errno.EMFILE, "none left")

    monkeypatch.setattr(tries, "opening_fails", lambda *_: errno.EMFILE)
    monkeypatch.setattr(tries, "_read", short)
    assert _through(shut=(str(tmp_path),))[1] == [f"read {tmp_path}"]


def test_a_socket_that_nobody_answers_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
    assert _through(shut=(str(tmp_path / "server"),))[1] == []
