"""What a burst of events tells: one file that an editor saved, or more that is still being written."""

from typing import Literal

import pytest

from reconciler.linux.inotify import Change
from reconciler.staging.source.bursts import Burst

How = Literal["writing", "saved", "moved here", "gone"]
_SAVED: tuple[How, ...] = ("saved", "moved here")


def change(name: str, how: How) -> Change:
    complete = how != "writing"
    return Change(name=name, complete=complete, gone=how == "gone", arrived=how == "moved here")


def burst(*events: tuple[str, How] | None) -> Burst:
    found = Burst(0.0)
    for number, event in enumerate(events, 1):
        found.note(None if event is None else change(*event), float(number))
    return found


@pytest.mark.parametrize(
    "events",
    [
        [("app.py", "saved")],
        [("app.py", "writing"), ("app.py", "saved")],
        [("app.py", "writing"), ("app.py", "writing"), ("app.py", "saved"), ("app.py", "saved")],
        [("app.py.tmp", "writing"), ("app.py.tmp", "saved"), ("app.py.tmp", "gone"), ("app.py", "moved here")],
        [("4913", "saved"), ("4913", "gone"), ("app.py~", "moved here"), ("app.py", "gone"), ("app.py", "saved")],
        [(".app.py.swp", "writing"), ("app.py", "saved")],
        [("new", "saved"), ("old", "gone"), ("new", "gone"), ("app.py", "moved here")],
    ],
    ids=["closed", "written", "twice", "a temporary file", "vim", "a swap file", "a backup"],
)
def test_one_file_was_saved(events: list[tuple[str, How]]) -> None:
    assert burst(*events).is_one_file


@pytest.mark.parametrize(
    "events",
    [
        [],
        [None],
        [("app.py", "writing")],
        [("app.py", "saved"), ("app.py", "writing")],
        [("app.py", "saved"), ("models.py", "saved")],
        [("app.py", "saved"), None],
        [("app.py", "saved"), ("", "writing")],
        [("app.py", "gone")],
        [("nohup.out", "writing")],
        *[[*[(name, "gone") for name in "abc"], ("app.py", how)] for how in _SAVED],
    ],
)
def test_more_may_come(events: list[tuple[str, How] | None]) -> None:
    assert not burst(*events).is_one_file


def test_what_was_of_many_files_stays_that_and_keeps_no_names() -> None:
    found = burst(*[(f"{number}.py", "saved") for number in range(1000)], ("app.py", "saved"))
    assert (found.is_one_file, found.began_at, found.last_at, found._last) == (False, 0.0, 1001.0, {})
