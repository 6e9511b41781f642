"""A module that is imported in vain is loaded by its first use, once, whoever imported it before or after."""

import importlib
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
