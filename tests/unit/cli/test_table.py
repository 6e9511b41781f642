"""What the commands print: tables that fit, control characters that do nothing, progress without a flood."""

import re
import time
from dataclasses import replace
from typing import Any

import pytest

from reconciler.cli.apply import ApplyProgress
from reconciler.cli.events import event_lines
from reconciler.cli.progress import Console, Phases
from reconciler.cli.status import _COLUMNS, _SPARE, _screen, with_retry
from reconciler.cli.table import cut, lines, wrapped
from reconciler.convergence.world import Report
from reconciler.inspection.printable import ago, plain
from reconciler.inspection.status import AppRow, HostStatus
from reconciler.planning.subject import Subject
from reconciler.planning.wording import counted
from reconciler.state.journal import Event

LONG = "cannot stage a-shop-with-a-long-name: no such package"


def row(**fields: Any) -> AppRow:
    app = {
        "name": "a-shop-with-a-long-name", "state": "failing", "message": LONG, "url": "http://127.0.0.1:8004/",
        "port": 8004, "revision": None, "wanted_revision": "20e8c763a7df", "runtime": "python3.13.0", "pid": 4468,
        "workers": 2, "restarts": 0, "since": None, "next_try_at": None,
    }  # fmt: skip
    return AppRow(**{**app, **fields})


def facts(*apps: AppRow) -> HostStatus:
    return HostStatus(daemon=7, apps=apps)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_of_status_is_wider_than_the_terminal(width: int) -> None:
    for line in _screen(facts(row(), row(name="b", state="running", message="")), width):
        assert len(line) <= width


def test_at_80_columns_what_matters_is_left_and_the_whole_message_is_said() -> None:
    told = _screen(facts(row()), 80)
    assert told[0].split() == ["APP", "STATE", "URL", "MESSAGE"]
    assert LONG in re.sub(r"\s+", " ", " ".join(told[2:]))


def test_each_whole_message_begins_with_the_name_of_its_app() -> None:
    failure = "failed 8 times in a row, most recently: KeyError: 'KEY' (wsgi.py:2); more in 'reconciler logs pay'"
    told = _screen(facts(row(name="pay", message=failure), row(name="shop")), 80)
    assert f"pay: {failure}" in re.sub(r"\s+", " ", " ".join(told[3:]))


def test_an_event_goes_on_below_its_subject_on_a_terminal_and_is_one_line_in_a_pipe() -> None:
    text = "revision 44eed40e1a54: KeyError: 'STRIPE_KEY' (wsgi.py:2); set it under `env` in the manifest"
    event = Event(id=1, at=0.0, subject=Subject("app", "pay"), kind="failed", text=text, cause="try 2")
    first, *more = event_lines(event, 80)
    assert first[21:].startswith("pay                  failed    revision 44eed40e1a54:")
    assert all(len(line) <= 80 and line.startswith(" " * 21) and line[21] != " " for line in more)
    assert " ".join([first, *(line.strip() for line in more)]) == "".join(event_lines(event, None))


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


def staging(message: str, phase: str = "") -> Report:
    return Report(state="staging", message=message, phase=phase)


def test_what_is_over_soon_is_not_worth_a_line() -> None:
    phases = Phases()
    assert not any(phases.is_due("blog", staging(f"step {n}"), n / 10) for n in range(19))


def test_long_work_is_told_every_few_seconds() -> None:
    phases = Phases()
    reports = [Report(state="staging", message=f"installing ({s} s)", phase="installing") for s in range(60)]
    told = [s for s, report in enumerate(reports) if phases.is_due("blog", report, float(s))]
    assert told == [2, 12, 22, 32, 42, 52]


def test_a_phase_that_changes_is_told_sooner_than_the_time_it_takes() -> None:
    phases = Phases()
    texts = [f"fetching {second // 4} of 9" for second in range(12)]
    reports = [Report(state="staging", message=f"{text} ({s} s)", phase=text) for s, text in enumerate(texts)]
    told = [s for s, report in enumerate(reports) if phases.is_due("shop", report, float(s))]
    assert told == [2, 4, 8]


def test_many_apps_are_no_flood() -> None:
    phases = Phases()
    told = sum(phases.is_due(f"app{n}", staging("installing"), s / 4) for s in range(40) for n in range(200))
    assert told <= 20


def test_a_long_release_command_is_named_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(15))
    console, work = Console(lambda: float(next(seconds))), "running the release command"
    for second in range(15):
        console.working("blog", Report(state="starting", message=f"{work} ({second} s)", phase=work))
    assert capsys.readouterr().out.splitlines() == [
        "blog  starting  running the release command (2 s)",
        "blog  starting  running the release command (12 s)",
    ]


def test_apply_is_done_when_every_app_is_settled_or_failed_for_good(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ApplyProgress(Console(lambda: 0.0), {"same": "r1"})
    progress.expect({"same", "new", "bad"})
    progress.tell(Subject("app", "same"), Report(state="starting", message="127.0.0.1:8000 is not open"))
    progress.tell(Subject("app", "same"), Report(state="running", wanted="r1", settled=True))
    progress.tell(Subject("app", "new"), Report(state="running", wanted="r2", settled=True))
    for number in (1, 2, 3):
        assert not progress.done.is_set()
        progress.tell(Subject("app", "bad"), Report(state="failing", message="no", failures=number, next_try_at=1.0))
    assert progress.done.is_set()
    assert capsys.readouterr().out == "new   running\nbad   failing   no (try 1 of 3)\n"


def test_apply_does_not_wait_for_what_only_an_edit_can_fix(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ApplyProgress(Console(lambda: 0.0), {})
    progress.expect({"bad"})
    progress.tell(Subject("app", "bad"), Report(state="starting", failures=1, withheld=True))
    assert not progress.done.is_set()
    progress.tell(Subject("app", "bad"), Report(state="failing", message="no entry point", failures=1, withheld=True))
    assert progress.done.is_set()
    assert capsys.readouterr().out == "bad  failing   no entry point\n"


def test_a_failure_that_is_tried_again_is_printed_once_and_what_the_retry_does_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seconds = iter(range(100))
    progress = ApplyProgress(Console(lambda: float(next(seconds))), {})
    progress.expect({"shop"})
    for number in (1, 2):
        failed = Report(state="failing", message="no gcc", failures=number, next_try_at=1.0)
        progress.tell(Subject("app", "shop"), failed)
        for second in range(1, 5):
            message, phase = f"no gcc; trying again: installing ({second} s)", "trying again: installing"
            progress.tell(Subject("app", "shop"), replace(failed, message=message, phase=phase, next_try_at=None))
    assert capsys.readouterr().out.splitlines() == [
        "shop  failing   no gcc (try 1 of 3)",
        "shop  failing   trying again: installing",
        "shop  failing   trying again: installing",
    ]


def test_in_a_pipe_how_far_a_wait_is_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(100))
    console = Console(lambda: float(next(seconds)))
    for number in range(30):
        console.progress(f"0 of 1 up to date · blog: installing ({number} s)")
    for _ in range(30):
        console.progress("0 of 1 up to date · blog: the key is missing")
    assert capsys.readouterr().out.splitlines() == [
        "0 of 1 up to date · blog: installing (2 s)",
        "0 of 1 up to date · blog: installing (12 s)",
        "0 of 1 up to date · blog: installing (22 s)",
        "0 of 1 up to date · blog: the key is missing",
    ]


def test_nothing_to_wait_for_is_done_at_once() -> None:
    progress = ApplyProgress(Console(lambda: 0.0), {})
    progress.expect(set())
    assert progress.done.is_set()


def test_a_retry_that_is_due_is_not_in_0_seconds() -> None:
    now = time.time()  # noqa: TID251  what people are shown
    assert with_retry("no database", now + 60.2) == "no database; retry in 1m"
    assert with_retry("no database", now) == "no database; retrying now"
    assert with_retry("no database", None) == "no database"
