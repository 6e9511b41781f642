"""Of what a program prints no more is held than it may print, and nothing that it started goes on."""

import subprocess
from pathlib import Path

import pytest

from reconciler.linux.bounded_output import PrintsTooMuch, output_of
from reconciler.linux.process_identity import start_ticks
from tests.support.eventually import eventually


def test_what_a_program_prints_is_returned_with_its_exit_status() -> None:
    assert output_of(["sh", "-c", "echo heard; exit 3"], within_s=30, at_most=6) == (3, b"heard\n")


def test_a_program_that_prints_without_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(PrintsTooMuch, match="sh printed more than 100000 bytes"):
        output_of(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; exec yes"], within_s=30, at_most=100_000)
    eventually(lambda: start_ticks(int((tmp_path / "pid").read_text())) is None)


def test_a_child_that_keeps_the_pipe_open_is_ended_in_time(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        output_of(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid"], within_s=2)
    eventually(lambda: start_ticks(int((tmp_path / "pid").read_text())) is None)
