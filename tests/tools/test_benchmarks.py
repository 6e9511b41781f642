"""The benchmarks: one case from end to end, what is made of figures, and what the page says of them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import known, report, results, tables
from benchmarks.case import BY_HAND, OURS, Case, Figures, ahead, as_json, at_most, from_json, ratio_at_most
from benchmarks.cases import unchanged
from benchmarks.setting import Setting, in_turn
from benchmarks.studies import metrics_cost
from tests.support.site import REPOSITORY


def figures(**of: float) -> Figures:
    found = Figures()
    for who, value in of.items():
        found.add("taken", who.replace("_", " "), "ms", value)
    return found


def a_case(*bounds: object, found: Figures) -> Case:
    def run(_: Setting) -> Figures:
        return found

    return Case(name="one", title="One", measures="Something.", bounds=bounds, run=run)  # type: ignore[arg-type]


def run(*words: str) -> tuple[int, str]:
    """The exit status of `python -m benchmarks`, and all it says. What it starts ends with it, whatever happens."""
    command = [sys.executable, "-m", "benchmarks", *words]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as runner:
        try:
            said, _ = runner.communicate(timeout=240)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(runner.pid, signal.SIGKILL)
    return runner.returncode, said


def test_a_case_runs_from_end_to_end_and_leaves_its_figures_with_the_machine_they_are_of(tmp_path: Path) -> None:
    # Its bounds are of no concern on a machine that does other things.
    status, said = run("--quick", "--results", str(tmp_path), "command_line")
    assert status in (0, 1), said
    found = json.loads((tmp_path / "command_line.json").read_text())
    assert found["quick"] is True
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert {"cpu", "memory_gib", "kernel", "python", "load"} <= found["machine"].keys()
    measured = {(each["what"], each["who"]): each["samples"] for each in found["figures"]}
    assert len(measured["`reconciler status`", OURS]) == 3
    assert all(seconds > 0 for samples in measured.values() for seconds in samples)
    assert "`reconciler status`" in said


def test_a_name_nobody_knows_is_refused_with_those_there_are() -> None:
    status, said = run("drp")
    assert status == 2
    assert "drp" in said
    assert "drop" in said
    assert "metrics_cost" in said


@pytest.mark.parametrize("name", [*known.CASES, *known.LONG])
def test_every_case_says_what_it_measures_and_what_is_asked_of_it(name: str) -> None:
    case = known.case(name)
    assert case.name == name
    assert case.bounds
    assert case.measures.endswith(".")
    assert set(case.more_is_better) <= set(case.plotted)


@pytest.mark.parametrize("name", known.STUDIES)
def test_every_study_can_be_imported_and_run(name: str) -> None:
    assert callable(known.study(name))


@pytest.mark.parametrize("counting", [False, True])
def test_what_counting_costs_is_measured_with_our_configuration_as_instances_read_it(
    tmp_path: Path, counting: bool
) -> None:
    with metrics_cost._gunicorn(tmp_path / "app", "sync", counting=counting) as running:
        figures = tmp_path / "app" / "passed" / "one" / str(running.worker)
        assert (figures.stat().st_size > 0) is counting


@pytest.mark.parametrize("kind", ["sync", "asgi"])
def test_what_counting_takes_by_itself_is_measured_with_our_gate(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_cost, "_TIMES", 3)
    assert metrics_cost._itself_us(kind) == pytest.approx(0, abs=1e5)  # far from a second, however busy the host is


def test_ours_is_ahead_only_when_everybody_else_takes_longer() -> None:
    bound = ahead("taken")
    assert bound.verdict(figures(reconciler=1, runit=2, s6=3)).holds is True
    assert bound.verdict(figures(reconciler=2, runit=3, s6=1)).holds is False
    assert "s6" in bound.verdict(figures(reconciler=2, runit=3, s6=1)).measured


def test_a_bound_on_what_was_not_measured_neither_holds_nor_fails() -> None:
    assert ahead("taken").verdict(figures(reconciler=1)).holds is None
    assert at_most("taken", 5, "ms").verdict(figures(runit=1)).holds is None
    assert ratio_at_most("taken", BY_HAND, 0.5).verdict(figures(reconciler=1)).holds is None


def test_a_ratio_is_taken_of_the_medians() -> None:
    found = figures(reconciler=1, gunicorn_by_hand=2)
    found.add("taken", OURS, "ms", [1.2, 100])
    assert ratio_at_most("taken", BY_HAND, 0.6).verdict(found).holds is True
    assert ratio_at_most("taken", BY_HAND, 0.59).verdict(found).holds is False


def test_figures_survive_being_written_and_read(tmp_path: Path) -> None:
    found = figures(reconciler=1.5, runit=2)
    found.cannot("honcho", "it reads its Procfile once")
    case = a_case(ahead("taken"), found=found)
    results.write(case.name, as_json(case, found), tmp_path)
    read = results.read(case.name, tmp_path)
    assert read is not None
    assert from_json(read) == found
    assert read["bounds"][0]["holds"] is True
    assert results.read("never-run", tmp_path) is None


def test_a_table_has_a_row_for_each_contender_and_its_way_of_being_asked() -> None:
    found = Figures()
    found.add("taken", OURS, "ms", [10.0, 30.0, 20.0], how="a file | renamed")
    found.add("taken", "runit", "ms", 1234.5, how="`sv`")
    found.add("failed", "runit", "of 9", 2)
    heads, body = tables.rows(found)
    assert heads == ["", "how it is asked", "taken", "failed"]
    assert body[0] == [OURS, "a file | renamed", "20.0 ms (10.0 to 30.0)", ""]
    assert body[1] == ["runit", "`sv`", "1,234 ms", "2 of 9"]
    assert r"a file \| renamed" in tables.as_markdown(heads, body)


def test_the_page_keeps_what_it_says_of_cases_that_were_not_run_again(tmp_path: Path) -> None:
    machine = {"cpu": "one", "cores": 2, "memory_gib": 4, "kernel": "Linux", "python": "3.11", "load": [1], "at": "now"}

    def measured(name: str, seconds: float, ours: str) -> None:
        case, found = known.case(name), Figures()
        found.add(case.plotted[0], OURS, "s", seconds)
        found.add(case.plotted[0], "runit", "s", 2.0)
        about = {"quick": False, "machine": machine, "peers": {}, "ours": ours}
        results.write(name, as_json(case, found) | about, tmp_path)

    measured("drop", 1.0, "1 (aaa)")
    measured("manager", 1.0, "1 (aaa)")
    before = report.write(tmp_path, tmp_path, lambda *_: False).read_text()
    since = "## Measured since\n\nA killed master: 27.2 ms\n\n"
    (tmp_path / "performance.md").write_text(before.replace("## Targets", f"{since}## Targets"))
    (tmp_path / "drop.json").unlink()
    measured("manager", 3.0, "2 (bbb)")
    page = report.write(tmp_path, tmp_path, lambda *_: False)
    after = page.read_text()
    drop, manager = known.case("drop").title, known.case("manager").title
    assert _section(after, drop) == _section(before, drop)
    assert _section(after, manager) != _section(before, manager)
    assert _section(after, "Targets") == _section(before, "Targets")
    assert "- reconciler 2 (bbb): manager\n" in after
    assert "- of an earlier run (reconciler 1 (aaa): drop, manager; from now;" in after
    assert since in after
    measured("drop", 5.0, "2 (bbb)")
    report.write(tmp_path, tmp_path, lambda *_: False)
    assert since not in page.read_text()
    lost = _section(page.read_text(), "Where reconciler is behind")
    (tmp_path / "drop.json").unlink()
    report.write(tmp_path, tmp_path, lambda *_: False)
    assert "- drop: " in lost
    assert _section(page.read_text(), "Where reconciler is behind") == lost


def _section(page: str, title: str) -> str:
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0].strip()


def test_everybody_begins_a_round_as_often_as_the_others() -> None:
    contenders = ["a", "b", "c"]
    turns = [in_turn(contenders, turn) for turn in range(6)]
    assert sorted(turn[0] for turn in turns) == sorted(contenders * 2)
    assert all(sorted(turn) == contenders for turn in turns)
    assert in_turn([], 3) == []


def test_a_process_that_waits_for_a_processor_is_not_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "cpu_s", lambda _: 0.0)  # as where others have all of it
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            with pytest.raises(TimeoutError):
                unchanged.at_rest(busy.pid, within_s=0.0)
        finally:
            busy.kill()


def test_a_process_that_sleeps_is_at_rest() -> None:
    code = "import time\nprint(flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        try:
            unchanged.at_rest(idle.pid)
        finally:
            idle.kill()
