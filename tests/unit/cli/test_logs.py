"""Logs of several apps in the order of time, narrowed by time, text and instance."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.serving.log_times import LogTimes
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database


@pytest.fixture
def state(tmp_path: Path) -> Path:
    open_database(tmp_path / "reconciler.db").close()
    return tmp_path


def write(state: Path, app: str, text: str, stream: str = "app") -> Path:
    log = StatePaths(state=state).log(app, stream)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(text)
    return log


def run(state: Path, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(group, ["logs", *words, "--state", str(state)], prog_name="reconciler")
    assert done.exit_code == code, done.output
    return done.output


def records(state: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(state, "--json", *words).splitlines()]


def logged(second: int, pid: int, text: str) -> str:
    return f"[2026-11-26 12:50:{second:02} +0000] [{pid}] [INFO] {text}\n"


def access(second: int, path: str) -> str:
    return f'1.2.3.4 - - [26/Nov/2026:12:50:{second:02} +0000] "GET {path} HTTP/1.1" 200 2 "-" "-"\n'


def test_all_apps_and_streams_are_merged_in_the_order_of_time(state: Path) -> None:
    write(state, "shop", logged(1, 7, "one") + logged(4, 7, "four"))
    write(state, "blog", logged(2, 8, "two"))
    write(state, "blog", access(3, "/three"), "access")
    assert [(line["app"], line["stream"], line["time"][17:19]) for line in records(state, "--which", "all")] == [
        ("shop", "app", "01"), ("blog", "app", "02"), ("blog", "access", "03"), ("shop", "app", "04"),
    ]  # fmt: skip
    assert [line.split()[2:] for line in run(state, "-n", "1").splitlines()] == [["shop", "[7]", "[INFO]", "four"]]
    assert [line["app"] for line in records(state, "s*")] == ["shop", "shop"]
    assert "did you mean 'shop'" in run(state, "shup", code=1)


def test_merged_lines_are_in_the_order_of_time_and_those_of_one_file_as_they_were_written(state: Path) -> None:
    """Also where several processes write into one file, and one is late."""
    write(state, "shop", logged(5, 7, "a") + logged(4, 7, "b") + logged(6, 7, "c"))
    write(state, "blog", logged(3, 8, "d") + logged(4, 8, "e") + logged(7, 8, "f"))
    assert [line["text"][-1] for line in records(state)] == ["d", "e", "a", "b", "c", "f"]


def test_lines_without_a_time_are_no_later_than_the_stamp_that_follows_however_far_on_it_is(state: Path) -> None:
    write(state, "shop", "".join(f"text {number}\n" for number in range(60_000)) + logged(4, 7, "stamped"))
    write(state, "blog", logged(5, 8, "later"))
    *found, stamped, later = records(state, "-n", "100000")
    assert (stamped["text"].split()[-1], later["text"].split()[-1]) == ("stamped", "later")
    assert [line["text"] for line in found] == [f"text {number}" for number in range(60_000)]
    assert {line["time"] for line in found} == {"2026-11-26T12:50:04.999Z"}


def test_a_line_without_a_time_is_of_the_second_of_the_stamp_that_follows_at_the_latest(state: Path) -> None:
    write(state, "shop", "told\n" + logged(4, 7, "stamped"))
    write(state, "blog", logged(5, 8, "later"))
    found = [(line["time"][17:19], line["text"].split()[-1]) for line in records(state)]
    assert found == [("04", "told"), ("04", "stamped"), ("05", "later")]


def test_lines_are_found_by_text_without_regard_to_case_unless_it_has_capitals(state: Path) -> None:
    write(state, "blog", 'Get /admin\nGET /x "500"\nPOST /admin 500\n')
    assert len(records(state, "--grep", "get")) == 2
    assert len(records(state, "--grep", "GET")) == 1
    assert [line["text"] for line in records(state, "--grep", "/admin*500")] == ["POST /admin 500"]
    assert run(state, "--grep", "(a+)+$") == "no line matches\n"


def test_the_last_matching_lines_are_found_however_far_back_they_are(state: Path) -> None:
    write(state, "blog", "needle 1\nneedle 2\n" + "hay\n" * 100_000)
    assert [line["text"] for line in records(state, "--grep", "needle", "-n", "1")] == ["needle 2"]


def test_a_line_without_a_time_was_written_by_the_next_sample_at_the_latest(state: Path) -> None:
    log = write(state, "blog", "early\n")
    os.utime(log, (1000, 1000))
    times = LogTimes()
    times.take(str(log.parent), ("app.log",))
    write(state, "blog", "later\n")
    os.utime(log, (5000, 5000))
    found = records(state, "blog")
    assert [(line["text"], line["time"], line["exact"]) for line in found] == [
        ("early", "1970-01-01T00:16:40.000Z", False), ("later", "1970-01-01T01:23:20.000Z", False),
    ]  # fmt: skip
    assert [line["text"] for line in records(state, "--since", "1970-01-01T00:30+00:00")] == ["later"]


def test_lines_since_a_time_are_found_in_a_large_log(state: Path) -> None:
    write(state, "blog", "".join(access(number // 1000, f"/{number}") for number in range(60_000)), "access")
    found = records(state, "blog", "--which", "access", "--since", "2026-11-26T12:50:58+00:00")
    assert (len(found), found[0]["text"].split()[6]) == (2000, "/58000")
    assert (
        records(state, "blog", "--which", "access", "--since", "2026-11-26T12:50:58+00:00", "-n", "1")[0] == found[-1]
    )


def test_a_time_may_be_an_age_a_time_of_day_or_a_date_and_nothing_else(state: Path) -> None:
    today = time.strftime("%Y-%m-%d")
    write(state, "blog", "now\n")
    assert len(records(state, "--since", "1h")) == 1
    assert run(state, "--since", "2099-01-01") == "no line matches\n"
    assert len(records(state, "--since", today)) == 1
    assert "expected a duration such as 1h, or a time" in run(state, "--since", "soon", code=2)


def test_lines_are_told_apart_by_the_instance_that_wrote_them(state: Path) -> None:
    text = "".join(
        (
            logged(1, 10, "Starting gunicorn 23.0.0"), "first\n",
            logged(2, 20, "Starting gunicorn 23.0.0"), logged(2, 21, "Booting worker with pid: 21"), "second\n",
            logged(3, 30, "Starting gunicorn 23.0.0"), logged(3, 31, "Booting worker with pid: 31"), "third\n",
            logged(4, 20, "Shutting down: Master"), logged(5, 31, "bye"),
        )
    )  # fmt: skip
    write(state, "blog", text)
    previous = [line["text"].rpartition("] ")[2] for line in records(state, "--instance", "previous", "--all-lines")]
    assert previous == [
        "Starting gunicorn 23.0.0", "Booting worker with pid: 21", "second", "Shutting down: Master",
    ]  # fmt: skip
    current = [line["text"].rpartition("] ")[2] for line in records(state, "--instance", "current", "--all-lines")]
    assert current == ["Starting gunicorn 23.0.0", "Booting worker with pid: 31", "third", "bye"]
    assert "leave out -f" in run(state, "--instance", "previous", "-f", code=2)


def test_what_cannot_be_combined_is_refused(state: Path) -> None:
    assert "--raw prints one log as it is" in run(state, "--raw", code=2)
    assert "leave out --which" in run(state, "--instance", "current", "--which", "access", code=2)


def test_nothing_written_yet_is_said(state: Path) -> None:
    assert run(state) == "no app has written anything yet\n"
    write(state, "blog", "")
    assert "app.log is still empty" in run(state, "blog")


@pytest.mark.nightly
def test_the_end_of_a_log_of_a_gigabyte_is_read_without_the_rest(state: Path) -> None:
    log = write(state, "blog", "")
    line = access(7, "/" + "x" * 100).encode()
    block = line * (2**20 // len(line))
    with log.open("ab") as file:
        for _ in range(1024):
            file.write(block)
    before = _read_bytes()
    assert len(records(state, "blog")) == 100
    assert _read_bytes() - before < 2**20
    log.unlink()


def _read_bytes() -> int:
    return int(Path("/proc/self/io").read_text().partition("rchar: ")[2].partition("\n")[0])
