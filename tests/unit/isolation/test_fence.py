"""What a fork server holds open for isolated apps: the very files that each finds by itself, or nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.isolation.fence import Held, without
from reconciler.linux.landlock import version
from tests.support.eventually import eventually

pytestmark = pytest.mark.skipif(not version(), reason="this kernel has no Landlock")


def _system(root: Path) -> tuple[str, tuple[str, ...]]:
    for name in ("hosts", "secret", "ssl/certificate", "ssl/private/key"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return str(root), (str(root / "secret"), str(root / "ssl/private"))


def _files(held: Held, path: str, hidden: tuple[str, ...]) -> set[int] | None:
    """What is held below a path, each by its number; None for nothing, as while a change is not settled."""
    held.renew()
    rules = held.rules_of(path, hidden)
    return None if rules is None else {os.fstat(int.from_bytes(rule[8:], "little")).st_ino for rule in rules}


def _found(path: str, hidden: tuple[str, ...]) -> set[int]:
    return {Path(each).stat().st_ino for each in without(path, hidden)}


def test_what_is_held_is_what_one_finds_by_itself_also_once_a_file_was_replaced(tmp_path: Path) -> None:
    path, hidden = _system(tmp_path)
    held = Held((path,), hidden)
    eventually(lambda: _files(held, path, hidden) == _found(path, hidden), 10)
    assert len(_found(path, hidden)) == 2
    for name in ("hosts", "ssl/certificate"):
        (tmp_path / "new").touch()
        (tmp_path / "new").replace(tmp_path / name)
        assert _files(held, path, hidden) in (None, _found(path, hidden))
        eventually(lambda: _files(held, path, hidden) == _found(path, hidden), 10)
    held.close()


def test_what_is_hidden_besides_or_shown_although_it_is_secret_is_not_held(tmp_path: Path) -> None:
    path, hidden = _system(tmp_path)
    held = Held((path,), hidden)
    eventually(lambda: _files(held, path, hidden) is not None, 10)
    assert _files(held, path, hidden[:1]) is None
    assert _files(held, path, (*hidden, f"{path}/hosts")) is None
    assert _files(held, path, (*hidden, "/elsewhere")) is not None
    assert _files(held, f"{path}/ssl", hidden) is None
    held.close()


_MOUNTED = """
import subprocess, sys, time
from reconciler.isolation.fence import Held
held = Held((sys.argv[1],), (sys.argv[1] + "/secret",))
while not held.rules_of(sys.argv[1], (sys.argv[1] + "/secret",)):
    time.sleep(0.01)
    held.renew()
before = held.numbers
held.renew()
assert held.numbers is before
subprocess.run(("mount", "-t", "tmpfs", "none", sys.argv[1] + "/ssl"), check=True)
held.renew()
assert held.numbers is not before
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_what_is_mounted_over_a_path_is_looked_for_again(tmp_path: Path) -> None:
    path, _ = _system(tmp_path)
    subprocess.run(("unshare", "--mount", sys.executable, "-c", _MOUNTED, path), check=True, timeout=60)
