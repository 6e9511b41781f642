"""What the log of a staging keeps."""

from pathlib import Path

import pytest

from reconciler.staging.log import Log


def test_a_log_that_is_full_says_so_and_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.staging.log._LARGEST", 1000)
    file = tmp_path / "staging.log"
    for _ in range(2):
        with Log(file) as log:
            for _ in range(100):
                log.output("x" * 50)
        assert file.stat().st_size < 1200
        assert "nothing more is kept" in file.read_text().splitlines()[-1]
    assert (tmp_path / "staging.log.1").exists()


def test_a_path_that_an_operator_does_not_know_is_shown_by_its_name(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        log.name(tmp_path / ".draft-1/code", ".")
        assert log.output(f"error: {tmp_path}/.draft-1/code/requirements.txt at 0") == "error: requirements.txt at 0"
        assert log.output(f"shop @ file://{tmp_path}/.draft-1/code") == "shop @ ."
