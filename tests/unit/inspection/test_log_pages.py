"""A log is read page by page from its end, and searched, whatever its size."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from reconciler.inspection.log_pages import LogPage, log_page
from reconciler.linux.regular_files import UnfitFile
from reconciler.serving import logs
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import LineRedactor

_KEY = "-----BEGIN RSA PRIVATE KEY-----\nhay needle hay\n-----END RSA PRIVATE KEY-----\n"


def _pages(log: Path, words: str = "") -> list[LogPage]:
    """All pages, the newest first."""
    found = [log_page(log, LineRedactor(), words=words)]
    while found[-1].start > 0:
        found.append(log_page(log, LineRedactor(), before=found[-1].start, words=words))
        assert found[-1].start < found[-2].start
    return found


def test_a_missing_or_empty_log_has_one_empty_page(tmp_path: Path) -> None:
    assert _pages(tmp_path / "app.log") == [LogPage()]
    (tmp_path / "app.log").touch()
    assert _pages(tmp_path / "app.log") == [LogPage()]


@of_hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.sampled_from((0, 7, 300, 9000, 70_000)), max_size=40), st.booleans())
def test_the_pages_together_are_the_whole_log_in_order(tmp_path: Path, lengths: list[int], ends: bool) -> None:
    log = tmp_path / "app.log"
    lines = [f"{number} {'x' * length}" for number, length in enumerate(lengths)]
    log.write_text("\n".join(lines) + "\n" * (ends and bool(lines)))
    shown = [line for page in reversed(_pages(log)) for line in page.lines]
    numbers = [line.split(" ")[0] for line in shown if line[:1].isdecimal() and " " in line]
    assert numbers == [line.split(" ")[0] for line in lines]


def test_a_page_has_the_last_lines_and_the_page_before_it_goes_on_where_it_begins(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"line {number}\n" for number in range(1200)))
    newest, middle, oldest = _pages(log)
    assert (newest.lines[0], newest.lines[-1]) == ("line 700", "line 1199")
    assert (middle.lines[0], middle.lines[-1]) == ("line 200", "line 699")
    assert (oldest.lines[0], oldest.lines[-1], oldest.start) == ("line 0", "line 199", 0)


_FAILED_START = """\
[2026-11-26 12:50:19 +0000] [41] [INFO] Starting gunicorn 27.0.1
Traceback (most recent call last):
  File "/s/apps/blog/builds/13b417ed3855/code/wsgi.py", line 2, in <module>
    open("swordfish")
FileNotFoundError: swordfish
reconciler: not ready: FileNotFoundError: swordfish (wsgi.py:2)
[2026-11-26 12:50:19 +0000] [43] [INFO] Worker exiting (pid: 43)
"""


def test_failed_starts_are_folded_as_the_command_does_and_every_page_begins_with_a_whole_one(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"request {number}\n{_FAILED_START}" for number in range(350)))
    redactor = LineRedactor(["swordfish"])
    newest = log_page(log, redactor, fold=True)
    older = log_page(log, redactor, before=newest.start, fold=True)
    folded = f"FileNotFoundError: {HIDDEN} (wsgi.py:2)  [7 lines folded]"
    assert [*older.lines, *newest.lines] == [line for number in range(350) for line in (f"request {number}", folded)]
    assert (len(newest.lines), older.start) == (500, 0)


def test_colours_are_left_out_of_a_folded_log_and_shown_as_they_were_written_otherwise(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("\x1b[31mred\x1b[0m\n")
    assert log_page(log, LineRedactor(), fold=True).lines == ("red",)
    assert log_page(log, LineRedactor()).lines == ("\x1b[31mred\x1b[0m",)


def test_a_search_finds_lines_far_back_in_any_case(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with log.open("w") as file:
        file.write("A Needle at first\n")
        file.writelines(["hay " * 20 + "\n"] * 300_000)
        file.write("the last nEEdle")
    assert [line for page in reversed(_pages(log, "needle")) for line in page.lines] == [
        "A Needle at first",
        "the last nEEdle",
    ]


def test_a_search_cannot_find_what_is_hidden(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(f"opens with swordfish\n{_KEY}a needle after it\n")
    for words in ("sword", "swordfish", "hay"):
        assert log_page(log, LineRedactor(["swordfish"]), words=words).lines == ()
    assert log_page(log, LineRedactor(), words="needle").lines == ("a needle after it",)
    assert log_page(log, LineRedactor(["swordfish"]), words="opens").lines == (f"opens with {HIDDEN}",)


def test_the_end_of_a_huge_log_takes_no_more_memory_than_a_page(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with log.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"\nthe end\n")
    tracemalloc.start()
    try:
        for words in ("", "the end"):
            assert log_page(log, LineRedactor(), words=words).lines[-1] == "the end"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("of another app\n")
    (tmp_path / "app.log").symlink_to("other")
    with pytest.raises(UnfitFile, match="it is a symbolic link, not a file"):
        log_page(tmp_path / "app.log", LineRedactor())
    assert logs.tail(tmp_path / "app.log", 5) == []
    assert logs.reason(tmp_path / "app.log", 0, "/code") is None
