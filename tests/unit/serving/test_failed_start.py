"""Why an instance did not start, from what its workers and its log tell: the cause, and what mends it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.serving.failed_start import why

MORE = "more in 'reconciler logs shop'"
EXITED = "it ended its own process while it was imported, by sys.exit"


def told(directory: Path, *, log: str = "", refusal: str | None = None, program: str = "gunicorn") -> str:
    file = directory / "app.log"
    file.write_text(log)
    live: Any = SimpleNamespace(
        refusal=lambda: refusal, worker_exit=lambda: None, log=file, log_start=0, code="/code", end="exited with 1"
    )
    described: Any = SimpleNamespace(name=program, app="shop", sight=None)
    return why(described, live)


@pytest.mark.parametrize("before", ["", "[2026-11-28 13:23:13 +0000] [7] [INFO] Starting gunicorn 27.0.1\n"])
def test_a_setting_that_gunicorn_refuses_is_named(tmp_path: Path, before: str) -> None:
    log = f"{before}Invalid value for timeout: -5\n\n\nError: Value must be positive: -5\n"
    assert told(tmp_path, log=log) == (
        "gunicorn refuses the setting timeout: Value must be positive: -5; correct it under `gunicorn` in the manifest,"
        f" or in gunicorn.conf.py; {MORE}"
    )


def test_an_error_after_that_is_told_as_it_is(tmp_path: Path) -> None:
    log = "Invalid value for timeout: -5\n\nError: no\nValueError: another\n"
    assert told(tmp_path, log=log) == f"ValueError: another; {MORE}"


@pytest.mark.parametrize("how", [f"{EXITED}: 1 (wsgi.py:6)", EXITED])
def test_an_app_that_ends_itself_with_a_number_is_told_with_what_it_said(tmp_path: Path, how: str) -> None:
    assert told(tmp_path, log="no licence\n", refusal=how) == f"{how}; it said: no licence; {MORE}"
    assert told(tmp_path, log="", refusal=how) == f"{how}; {MORE}"


def test_what_an_app_says_as_it_ends_itself_is_told_once(tmp_path: Path) -> None:
    how = f"{EXITED}: no licence (wsgi.py:6)"
    assert told(tmp_path, log="no licence\n", refusal=how) == f"{how}; {MORE}"


@pytest.mark.parametrize(
    "said",
    [
        "OSError: [Errno 98] Address already in use (wsgi.py:2)",
        "Error: listen EADDRINUSE: address already in use :::80",
    ],
)
def test_an_app_that_listens_itself_is_told_who_listens_for_it(tmp_path: Path, said: str) -> None:
    assert told(tmp_path, refusal=said) == f"{said}; the app is not to listen itself, gunicorn does so for it; {MORE}"
    assert told(tmp_path, refusal=said, program="node") == (
        f"{said}; it is to listen where $PORT or $SOCKET says, or at descriptor 3 with `listen: descriptor`; {MORE}"
    )
    exited = f"{EXITED}: 1 (wsgi.py:6)"
    assert told(tmp_path, log=said, refusal=exited).endswith(f"gunicorn does so for it; {MORE}")
