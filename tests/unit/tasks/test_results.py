"""What a runner leaves is read as hostile input, and told in words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.planning.tasks.task import Task
from reconciler.tasks.endings import RUNNER_KILLED, ended, lost, unrecorded
from reconciler.tasks.results import claim_of, forget_result, forget_results, read_result
from reconciler.tasks.texts import command_line, described, described_by_schedule, told

GOOD: dict[str, Any] = {
    "id": "8f3a21c0", "code": 3, "signal": None, "timed_out": False, "cancelled": False, "took_s": 2.0,
    "ended_at": 1.7e9, "peak_memory": 2**20, "size": 9, "error": "", "said": "no\x1b[31m such \x00table\n",
}  # fmt: skip
TASK = Task(
    id="8f3a21c0", app="shop", kind="task", name="reindex",
    command='["python", "reindex.py", "--password", "hunter22"]', state="running", owed_at=1.0,
    started_at=5.0, timeout_s=7200.0,
)  # fmt: skip


def written(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "8f3a21c0.result"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def test_a_result_is_read_without_control_characters(tmp_path: Path) -> None:
    result = read_result(written(tmp_path, GOOD), TASK.id)
    assert result is not None
    assert (result.code, result.took_s, result.said) == (
        3,
        2.0,
        "no\N{REPLACEMENT CHARACTER}[31m such \N{REPLACEMENT CHARACTER}table\n",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[" * 100_000, b"{}", b"3", [GOOD], GOOD | {"id": "00000000"}, GOOD | {"code": -1},
        GOOD | {"code": 256}, GOOD | {"code": True}, GOOD | {"signal": "9"}, GOOD | {"took_s": float("inf")},
        GOOD | {"ended_at": "now"}, GOOD | {"peak_memory": 2**80}, GOOD | {"said": "x" * 100_000},
    ],
)  # fmt: skip
def test_what_no_runner_wrote_is_no_result(content: object, tmp_path: Path) -> None:
    assert read_result(written(tmp_path, content), TASK.id) is None


def test_a_link_in_the_place_of_a_result_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(json.dumps(GOOD))
    (tmp_path / "8f3a21c0.result").symlink_to(tmp_path / "elsewhere")
    assert read_result(tmp_path / "8f3a21c0.result", TASK.id) is None
    assert read_result(tmp_path / "none", TASK.id) is None


def test_a_result_goes_with_its_claim(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    claim_of(file).write_text("")
    forget_result(file)
    forget_result(file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "cancelled_by", "state", "ending"),
    [
        ({"code": 0}, "", "succeeded", "exit code 0"),
        ({}, "", "failed", "exit code 3"),
        ({"code": None, "signal": 9}, "", "failed", "killed by SIGKILL"),
        ({"code": None, "signal": 40}, "", "failed", "killed by signal 40"),
        ({"code": 1, "timed_out": True}, "", "failed", "took longer than 2h, and was ended (exit code 1)"),
        ({"code": None, "signal": 15, "cancelled": True}, "ann", "cancelled", "cancelled by ann (killed by SIGTERM)"),
        (
            {"cancelled": True}, "", "failed",
            "ended from outside, as by 'reconciler down' or when the host goes down (exit code 3)",
        ),
        ({"code": 127, "error": "nope: not found"}, "", "failed", "cannot run nope: not found"),
    ],
)  # fmt: skip
def test_how_a_task_ended_is_said_in_words(
    fields: dict[str, Any], cancelled_by: str, state: str, ending: str, tmp_path: Path
) -> None:
    result = read_result(written(tmp_path, GOOD | fields), TASK.id)
    assert result is not None
    asked = Task(**{**{name: getattr(TASK, name) for name in TASK.__slots__}, "cancelled_by": cancelled_by})
    found = ended(asked, result, result.said)
    assert (found.state, found.ending) == (state, ending)
    assert found.is_open is False


def test_a_task_without_a_result_has_failed_unless_it_was_cancelled() -> None:
    assert (lost(TASK, RUNNER_KILLED, 9.0).state, lost(TASK, RUNNER_KILLED, 9.0).took_s) == ("failed", 4.0)


def test_an_event_of_a_task_says_what_became_of_it_and_no_secret_of_its_command() -> None:
    assert described(lost(TASK, RUNNER_KILLED, 9.0)) == (
        "task 8f3a21c0 (reindex) failed after 4.0s: its runner was killed, and the command with it"
    )
    cancelled = replace(TASK, cancelled_by="ann")
    assert (
        described(lost(cancelled, RUNNER_KILLED, 20.0)) == "task 8f3a21c0 (reindex) ended after 15s: cancelled by ann"
    )
    occurrence = replace(TASK, kind="schedule", name="sync", schedule="sync", state="failed", ending="exit code 1")
    assert described_by_schedule(replace(occurrence, took_s=0.02)) == (
        "schedule sync failed after 0.1s: exit code 1 (task 8f3a21c0)"
    )
    recovered = replace(occurrence, state="succeeded", took_s=75.0)
    assert described_by_schedule(recovered, again=True) == "schedule sync succeeded again after 1m15s (task 8f3a21c0)"
    assert "hunter22" not in command_line(TASK)
    assert told(TASK)


def test_a_runner_that_left_nothing_is_told_of_by_what_is_known() -> None:
    assert unrecorded(same_boot=False, claimed=True, how="exited with 1") == "the host went down while it ran"
    assert unrecorded(same_boot=True, claimed=True, how="was ended by SIGKILL") == (
        f"{RUNNER_KILLED} (the runner was ended by SIGKILL)"
    )
    assert unrecorded(same_boot=True, claimed=True, how="exited with 0") == (
        "what its runner left about its end was removed or replaced (the runner exited with 0)"
    )
    assert unrecorded(same_boot=True, claimed=False, how="").startswith("its runner ended before the command began")


def test_directories_in_the_place_of_results_go_with_the_rest(tmp_path: Path) -> None:
    for name in ("8f3a21c0.result", "8f3a21c0.result.draft", "aaaaaaaa.result.7.aside", "bbbbbbbb.result"):
        (tmp_path / name / "inside").mkdir(parents=True)
    (tmp_path / "cccccccc.result").write_text("left")
    forget_result(tmp_path / "8f3a21c0.result")
    assert len(list(tmp_path.iterdir())) == 3
    forget_results(tmp_path, {"bbbbbbbb"}, now=0.0)
    assert [file.name for file in tmp_path.iterdir()] == ["bbbbbbbb.result"]


def test_a_command_whose_variables_are_replaced_is_shown_as_it_was_written() -> None:
    task = replace(TASK, command='{"expand": ["sync", "$URL", "a b"]}')
    assert (task.words, task.expands, command_line(task)) == (("sync", "$URL", "a b"), True, 'sync $URL "a b"')
