"""What the commands print: tables that fit, control characters that do nothing, progress without a flood."""

import re
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.apply import ApplyProgress
from reconciler.cli.progress import Console, Phases
from reconciler.cli.status import _COLUMNS, _SPARE, _screen
from reconciler.cli.table import cut, lines, wrapped
from reconciler.convergence.world import Report
from reconciler.inspection.printable import ago, counted, plain
from reconciler.planning.subject import Subject

LONG = "cannot stage a-shop-with-a-long-name: no such package"


def row(**fields: Any) -> dict[str, Any]:
    app = {
        "name": "a-shop-with-a-long-name", "state": "failing", "message": LONG, "url": "http://127.0.0.1:8004/",
        "port": 8004, "revision": None, "wanted_revision": "20e8c763a7df", "runtime": "python3.13.0", "pid": 4468,
        "workers": 2, "restarts": 0, "since": None, "next_try_at": None,
    }  # fmt: skip
    return {**app, **fields}


def facts(*apps: dict[str, Any]) -> dict[str, Any]:
    return {"apps": list(apps), "notice": None, "manifests": [], "daemon": {"running": True}}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_of_status_is_wider_than_the_terminal(width: int) -> None:
    for line in _screen(facts(row(), row(name="b", state="running", message="")), width):
        assert len(line) <= width


def test_at_80_columns_what_matters_is_left_and_the_whole_message_is_said() -> None:
    told = _screen(facts(row()), 80)
    assert told[0].split() == ["APP", "STATE", "URL", "MESSAGE"]
    assert LONG in re.sub(r"\s+", " ", " ".join(told[2:]))


def test_in_a_pipe_nothing_is_left_out() -> None:
    told = lines(_COLUMNS, [["x"] * len(_COLUMNS)], None, _SPARE)
    assert told[0].split() == list(_COLUMNS)


def test_a_short_table_keeps_its_columns_at_80() -> None:
    told = _screen(facts(row(name="hello", state="running", message="", wanted_revision=None)), 80)
    assert {"URL", "PID", "SINCE"} <= set(told[0].split())


def test_what_an_app_says_cannot_draw_on_the_terminal() -> None:
    assert plain("a\x1b[31mb\u202ec\nd") == "a\\x1b[31mb\\u202ec d"


def test_text_is_cut_wrapped_counted_and_dated() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert wrapped("one two three four five six", 20) == ["one two three four", "  five six"]
    assert [ago(s) for s in (0, 61, 3600, 90061)] == ["0s", "1m1s", "1h", "1d1h"]
    assert (counted(1, "app"), counted(2, "app")) == ("1 app", "2 apps")


def staging(message: str) -> Report:
    return Report(state="staging", message=message)


def test_what_is_over_soon_is_not_worth_a_line() -> None:
    phases = Phases()
    assert not any(phases.worth_saying("blog", staging(f"step {n}"), n / 10) for n in range(19))


def test_long_work_is_told_every_few_seconds() -> None:
    phases = Phases()
    told = [s for s in range(60) if phases.worth_saying("blog", staging(f"installing ({s} s)"), float(s))]
    assert told == [2, 12, 22, 32, 42, 52]


def test_many_apps_are_no_flood() -> None:
    phases = Phases()
    told = sum(phases.worth_saying(f"app{n}", staging("installing"), s / 4) for s in range(40) for n in range(200))
    assert told <= 20


def test_apply_is_done_when_every_app_is_settled_or_failed_for_good(capsys: pytest.CaptureFixture[str]) -> None:
    counters = ApplyProgress(Console(lambda: 0.0), {"same": "r1"})
    counters.expect({"same", "new", "bad"})
    counters.tell(Subject("app", "same"), Report(state="starting", message="127.0.0.1:8000 is not open"))
    counters.tell(Subject("app", "same"), Report(state="running", wanted="r1", settled=True))
    counters.tell(Subject("app", "new"), Report(state="running", wanted="r2", settled=True))
    for number in (1, 2, 3):
        assert not counters.done.is_set()
        counters.tell(Subject("app", "bad"), Report(state="failing", message="no", failures=number, next_try_at=1.0))
    assert counters.done.is_set()
    assert counters.open == frozenset()
    assert capsys.readouterr().out == "new   running\nbad   failing   no (try 1 of 3)\n"


def test_nothing_to_wait_for_is_done_at_once() -> None:
    counters = ApplyProgress(Console(lambda: 0.0), {})
    counters.expect(set())
    assert counters.done.is_set()


def test_the_docs_name_every_command() -> None:
    from reconciler.cli.main import _COMMANDS

    told = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    assert [name for name in _COMMANDS if not re.search(rf"`(reconciler )?{name}`", told)] == []
