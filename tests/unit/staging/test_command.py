"""Commands of staging: what is told of a failure."""

import asyncio
from pathlib import Path

import pytest

from reconciler.staging import command as of_commands
from reconciler.staging.command import _LINES_AT_ONCE, Command, run
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log


def failure(script: str) -> str:
    command = Command(activity="trying", arguments=("sh", "-c", script))
    with pytest.raises(StagingError) as failed, Log(Path("/dev/null")) as log:
        asyncio.run(run(command, log, lambda _: None))
    return str(failed.value)


def test_an_error_is_told_though_warnings_follow_it() -> None:
    script = "echo before; echo 'Error: it changed'; for i in 1 2 3 4 5 6 7 8 9; do echo Warning: $i; done; exit 1"
    assert failure(script) == "sh failed (exit code 1): it changed"


def test_the_last_error_is_told_with_its_causes() -> None:
    assert failure("echo error: a; echo error: b; echo '  cause: c'; exit 2") == "sh failed (exit code 2): b: c"


def test_what_djangos_checks_found_is_told_though_warnings_follow_it() -> None:
    said = "echo 'SystemCheckError: some issues:'; echo 'ERRORS:'; echo '?: (E002) no host'; seq 9; exit 1"
    assert failure(said) == "sh failed (exit code 1): SystemCheckError: some issues: ?: (E002) no host"


def test_without_an_error_the_last_line_is_told_without_what_uv_says_of_itself() -> None:
    script = "echo 'Using Python 3.12.1 environment at: /somewhere/long'; echo a; echo b; exit 1"
    assert failure(script) == "sh failed (exit code 1): b"


def test_warnings_are_told_where_there_is_nothing_else() -> None:
    assert failure("echo 'warning: a'; exit 1") == "sh failed (exit code 1): warning: a"


def test_a_command_that_prints_as_fast_as_it_can_keeps_nothing_else_waiting(tmp_path: Path) -> None:
    turns = 0

    async def story() -> int:
        nonlocal turns

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(other())
        with Log(tmp_path / "staging.log") as log:
            command = Command(activity="shouting", arguments=("/bin/sh", "-c", "yes | head -n 40000"))
            await run(command, log, lambda _: None)
        beside.cancel()
        return sum(line.endswith("y") for line in (tmp_path / "staging.log").read_text().splitlines())

    assert asyncio.run(story()) == 40_000
    assert turns > 40_000 / _LINES_AT_ONCE


def test_a_command_that_prints_what_is_no_text_rests_after_each_block_that_took_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    class Resting:
        async def rest(self, seconds: float) -> None:
            rests.append(seconds)

    monkeypatch.setattr(of_commands, "_resting", Resting())
    monkeypatch.setattr(of_commands, "_BRIEF_S", 0.0)
    with Log(tmp_path / "staging.log") as log:
        script = "head -c 400000 /dev/zero"  # no line ever ends
        asyncio.run(run(Command(activity="shouting", arguments=("/bin/sh", "-c", script)), log, lambda _: None))
    assert len(rests) >= 3
