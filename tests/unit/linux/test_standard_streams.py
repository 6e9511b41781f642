"""What follows something ends with the reader of its output, also while it has nothing to print."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with one event and one line of a log."""
    with closing(open_database(StatePaths(state=tmp_path).database)) as database:
        Journal(database).write(Subject("app", "blog"), "ready", "it serves")
    log = StatePaths(state=tmp_path).log("blog", "app")
    log.parent.mkdir(parents=True)
    log.write_text("it serves\n")
    return tmp_path


@pytest.mark.parametrize(
    "words", [("events", "-f"), ("status", "--watch"), ("logs", "-f"), ("logs", "blog", "--raw", "-f")]
)
def test_a_command_that_follows_ends_when_nothing_reads_it(state: Path, words: tuple[str, ...]) -> None:
    argv = [sys.executable, "-m", "reconciler", *words, "--state", str(state)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stderr:
        assert process.stdout.readline()
        process.stdout.close()
        try:
            assert (process.wait(60), process.stderr.read()) == (0, b"")
        finally:
            process.kill()
            process.wait()


def test_output_that_is_read_is_waited_for() -> None:
    code = "from reconciler.linux.standard_streams import is_read; import sys; sys.stderr.write(str(is_read(0.01)))"
    for output in (subprocess.PIPE, subprocess.DEVNULL):
        done = subprocess.run([sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, check=True)
        assert done.stderr == b"True"
