"""A failed start is one line, the app's exception and its place; everything else of a log stays as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inspection.log_lines import Folder, Line, folded, stamp
from reconciler.inspection.printable import coloured

_CODE = "/s/apps/blog/builds/13b417ed3855/code"
_PACKAGES = "/s/environments/1a71/lib/python3.13/site-packages"
_STARTED = """\
[2026-11-26 12:50:19 +0000] [41] [INFO] Starting gunicorn 27.0.1
[2026-11-26 12:50:19 +0000] [41] [INFO] Listening at: http://127.0.0.1:8000 (41)
[2026-11-26 12:50:19 +0000] [41] [INFO] Using worker: sync
[2026-11-26 12:50:19 +0000] [43] [INFO] Booting worker with pid: 43"""
_IMPORTED = f"""\
Traceback (most recent call last):
  File "{_CODE}/wsgi.py", line 2, in <module>
    from inner import x
  File "{_CODE}/inner.py", line 2, in f
    import nope
ModuleNotFoundError: No module named 'nope'
reconciler: not ready: ModuleNotFoundError: No module named 'nope' (inner.py:2)
[2026-11-26 12:50:19 +0000] [43] [INFO] Worker exiting (pid: 43)
[2026-11-26 12:50:19 +0000] [41] [ERROR] Worker (pid:43) exited with code 3.
[2026-11-26 12:50:19 +0000] [41] [ERROR] Shutting down: Master
[2026-11-26 12:50:19 +0000] [41] [ERROR] Reason: Worker failed to boot."""
_PRELOADED = f"""\
Traceback (most recent call last):
  File "/opt/reconciler/serving/launcher.py", line 81, in <module>
    run()
  File "{_PACKAGES}/gunicorn/app/wsgiapp.py", line 66, in run
    WSGIApplication().run()
  File "{_PACKAGES}/gunicorn/arbiter.py", line 63, in __init__
    self.setup(app)
  File "<frozen importlib._bootstrap>", line 488, in _call_with_frames_removed
  File "{_CODE}/shop/db.py", line 7, in <module>
    raise RuntimeError("no database")
RuntimeError: no database"""
_OF_19 = f"""\
[2026-11-26 12:50:19 +0000] [43] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "{_PACKAGES}/gunicorn/arbiter.py", line 583, in spawn_worker
    worker.init_process()
  File "{_CODE}/wsgi.py", line 3, in <module>
    1 / 0
ZeroDivisionError: division by zero
[2026-11-26 12:50:19 +0000] [43] [INFO] Worker exiting (pid: 43)"""
_ENDED = """\
[2026-11-26 12:50:19 +0000] [43] [INFO] Worker exiting (pid: 43)
[2026-11-26 12:50:19 +0000] [41] [ERROR] Worker (pid:43) exited with code 3.
[2026-11-26 12:50:19 +0000] [41] [ERROR] Shutting down: Master
[2026-11-26 12:50:19 +0000] [41] [ERROR] Reason: Worker failed to boot."""
_SYNTAX = f"""\
  File "{_CODE}/wsgi.py", line 1
    def application(:
                    ^
SyntaxError: invalid syntax
reconciler: not ready: SyntaxError: invalid syntax (wsgi.py:1)
{_ENDED}"""
_EXITED = f"""\
reconciler: not ready: it ended its own process while it was imported, by sys.exit: no licence (wsgi.py:4)
{_ENDED}"""
_CRASHED = f"""\
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/usr/lib/python3.13/ctypes/__init__.py", line 538 in string_at
  File "{_CODE}/wsgi.py", line 4 in crash
  File "<frozen importlib._bootstrap>", line 488 in _call_with_frames_removed

Extension modules: psycopg._psycopg (total: 1)
[2026-11-26 12:50:19 +0000] [41] [WARNING] Worker (pid:43) was sent SIGSEGV!
reconciler: not ready: a worker was ended by SIGSEGV before it was ready
[2026-11-26 12:50:19 +0000] [41] [ERROR] Shutting down: Master
[2026-11-26 12:50:19 +0000] [41] [ERROR] Reason: Worker failed to boot."""
_HALTED = """\
[2026-11-26 12:50:19 +0000] [41] [ERROR] Worker (pid:43) exited with code 4.
[2026-11-26 12:50:19 +0000] [41] [ERROR] Shutting down: Master
[2026-11-26 12:50:19 +0000] [41] [ERROR] Reason: App failed to load."""
_WAITS = """\
reconciler: not ready: GET / answered 503: starting
[2026-11-26 12:50:19 +0000] [44] [INFO] Booting worker with pid: 44
reconciler: not ready: GET / answered 500: no database"""
_REQUEST = f"""\
[2026-11-26 12:49:15 +0000] [43] [ERROR] Error handling request GET /boom
Traceback (most recent call last):
  File "{_PACKAGES}/gunicorn/workers/sync.py", line 141, in handle
    self.handle_request(listener, req, client, addr)
  File "{_CODE}/wsgi.py", line 4, in application
    raise ValueError("boom")
ValueError: boom"""


def shown(text: str) -> list[str]:
    return [line.shown for line in folded(Line(text=each) for each in text.split("\n"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{_STARTED}\n{_IMPORTED}", "ModuleNotFoundError: No module named 'nope' (inner.py:2)  [15 lines folded]"),
        (_IMPORTED, "ModuleNotFoundError: No module named 'nope' (inner.py:2)  [11 lines folded]"),
        (_PRELOADED, "RuntimeError: no database (shop/db.py:7)  [11 lines folded]"),
        (f"{_STARTED}\n{_OF_19}", "ZeroDivisionError: division by zero (wsgi.py:3)  [12 lines folded]"),
        (f"{_STARTED}\n{_SYNTAX}", "SyntaxError: invalid syntax (wsgi.py:1)  [13 lines folded]"),
        (
            f"{_STARTED}\nno licence\n{_EXITED}",
            "it ended its own process while it was imported, by sys.exit: no licence (wsgi.py:4)  [10 lines folded]",
        ),
        (
            f"{_STARTED}\n{_CRASHED}",
            "a worker was ended by SIGSEGV before it was ready, at wsgi.py:4  [16 lines folded]",
        ),
        (f"{_STARTED}\n{_HALTED}", "a worker exited with 4 before it was ready  [7 lines folded]"),
    ],
)
def test_a_failed_start_is_the_apps_exception_with_its_place(text: str, expected: str) -> None:
    assert shown(text) == [expected]
    assert shown(f"before\n{text}\n{text}") == ["before", expected, expected]


def test_a_start_and_a_requests_traceback_stay_as_they_are() -> None:
    for text in (_STARTED, _REQUEST, f"{_STARTED}\nready\n{_REQUEST}\nmore of the app"):
        assert shown(text) == text.split("\n")


def test_a_start_that_waited_until_the_next_one_began_has_failed() -> None:
    """As the daemon ends it when its time is over; gunicorn has no time to write of that."""
    expected = "GET / answered 500: no database  [7 lines folded]"
    assert shown(f"{_STARTED}\n{_WAITS}\n{_STARTED}\n{_SYNTAX}") == [
        expected, "SyntaxError: invalid syntax (wsgi.py:1)  [13 lines folded]",
    ]  # fmt: skip
    told_to_end = "[2026-11-26 12:50:19 +0000] [41] [INFO] Handling signal: term"
    assert shown(f"{_STARTED}\n{_WAITS}\n{told_to_end}") == [expected.replace("7", "8")]


def test_a_start_that_waited_and_was_ready_then_has_not_failed() -> None:
    waited = f"{_STARTED}\n{_WAITS}\nreconciler: ready"
    for text in (f"{_STARTED}\n{_WAITS}", f"{waited}\n{_ENDED}", f"{waited}\n{_STARTED}\n{_REQUEST}"):
        assert shown(text) == text.split("\n")


def test_the_death_of_a_worker_that_served_is_no_failed_start() -> None:
    died = _CRASHED.partition("reconciler: ")[0].rstrip("\n")
    text = f"{_STARTED}\nserving\n{died}\n[2026-11-26 12:50:20 +0000] [44] [INFO] Booting worker with pid: 44"
    assert shown(text) == text.split("\n")


def test_what_the_app_writes_while_it_fails_to_start_is_shown() -> None:
    for failure in (_SYNTAX, _EXITED, _CRASHED, _HALTED):
        lines = shown(f"{_STARTED}\nloading the configuration\n{failure}")
        assert lines[:-1] == [*_STARTED.split("\n"), "loading the configuration"]
        assert lines[-1].endswith(" lines folded]")


def test_what_the_app_writes_between_two_failed_starts_is_shown() -> None:
    lines = shown(f"{_PRELOADED}\nI am the app\n{_STARTED}\n{_IMPORTED}\nand I write")
    assert [line for line in lines if "folded" not in line] == ["I am the app", "and I write"]


_EVERYTHING = (
    _STARTED, _IMPORTED, _PRELOADED, _OF_19, _REQUEST, _SYNTAX, _EXITED, _CRASHED, _HALTED, _WAITS, "reconciler: ready",
    "the app", "",
)  # fmt: skip
_ANY = st.sampled_from("\n".join(_EVERYTHING).split("\n"))


@given(st.lists(st.one_of(_ANY, st.text(max_size=20).filter(lambda text: "\n" not in text)), max_size=80))
def test_whatever_a_log_holds_each_line_is_shown_or_stands_behind_one_in_order(texts: list[str]) -> None:
    found = folded(Line(text=text) for text in texts)
    assert [text for line in found for text in (line.folded or (line.text,))] == texts


@given(st.lists(st.one_of(st.none(), _ANY), max_size=80))
def test_lines_that_arrive_one_by_one_are_never_lost(texts: list[str | None]) -> None:
    folder, found = Folder(), list[Line]()
    for text in texts:
        found += folder.flush() if text is None else folder.feed(Line(text=text))
    found += folder.flush()
    assert [text for line in found for text in (line.folded or (line.text,))] == [
        text for text in texts if text is not None
    ]


def test_a_stamp_counts_only_with_its_zone_and_where_it_stands() -> None:
    assert stamp("[2026-11-26 12:50:19 +0130] [43] [INFO] ready", "app") == 1795692019.0
    assert stamp('::1 - - [26/Nov/2026:11:20:19 +0000] "GET / HTTP/1.1" 200 2', "access") == 1795692019.0
    assert stamp("2026-11-26 12:50:19,123 INFO ready", "app") is None
    assert stamp("[2026-13-46 12:50:19 +0000] [43] [INFO] ready", "app") is None


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        ("[0001-01-01 00:00:00 +1400] [43] [INFO] ready", "app"),
        ('::1 - - [31/Dec/1969:23:59:59 +0000] "GET / HTTP/1.1" 200 2', "access"),
        ("0001-01-01 00:00:00 begins", "staging"),
    ],
)
def test_a_time_before_1970_is_none(text: str, stream: str) -> None:
    assert stamp(text, stream) is None


def test_colours_are_kept_or_removed_and_everything_else_is_escaped() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b[2Jgone \x1b]0;title\x07 \x1b[38;5;8mgrey"
    assert coloured(text, keep=True) == "\x1b[1;31mred\x1b[0m \\x1b[2Jgone \\x1b]0;title\\x07 \x1b[38;5;8mgrey\x1b[0m"
    assert coloured(text, keep=False) == "red \\x1b[2Jgone \\x1b]0;title\\x07 grey"
    assert coloured("\x1b[8mhidden\x1b[1;08mtoo", keep=True) == "\\x1b[8mhidden\\x1b[1;08mtoo\x1b[0m"


@given(st.text())
def test_nothing_but_colours_reaches_a_terminal(text: str) -> None:
    without = coloured(text, keep=False)
    assert without.isprintable() or not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in without)
