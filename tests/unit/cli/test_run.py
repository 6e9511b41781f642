"""What `run` prints once every app is up to date for the first time."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.cli.run import EventPrinter
from reconciler.convergence.world import Report
from reconciler.planning.subject import Subject
from tests.world import an_app

RUNNING = Report(state="running", wanted="r1", settled=True)
FAILING = Report(state="failing", message="no entry point", failures=1)


def a_daemon(*names: str, page_url: str | None = None) -> Any:
    apps = {name: an_app() for name in names}
    return SimpleNamespace(
        manifests=SimpleNamespace(catalog=SimpleNamespace(apps=apps)),
        page_url=page_url,
        settings=SimpleNamespace(proxy=None),
    )


def printed(printer: EventPrinter, capsys: pytest.CaptureFixture[str], **reports: Report) -> list[str]:
    for name, report in reports.items():
        printer.on_report(Subject("app", name), report)
    return [line for line in capsys.readouterr().out.splitlines() if "Ctrl-C" in line]


def test_it_is_said_once_when_all_apps_serve_and_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    printer = EventPrinter(a_daemon("blog", "shop"))
    assert printed(printer, capsys, blog=RUNNING, shop=FAILING) == []
    (line,) = printed(printer, capsys, shop=RUNNING)
    assert line.endswith("2 apps serve; Ctrl-C leaves them running; in another terminal: 'reconciler status'")
    assert printed(printer, capsys, shop=FAILING) == []
    assert printed(printer, capsys, shop=RUNNING) == []


def test_one_app_is_not_spoken_of_as_several(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(EventPrinter(a_daemon("blog")), capsys, blog=RUNNING)
    assert line.endswith("1 app serves; Ctrl-C leaves it running; in another terminal: 'reconciler status'")


def test_an_app_that_is_meant_to_be_stopped_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = Report(state="stopped", settled=True)
    (line,) = printed(EventPrinter(a_daemon("blog", "shop")), capsys, blog=RUNNING, shop=stopped)
    assert "1 app serves; " in line


def test_the_page_is_named_and_a_daemon_that_stops_its_apps_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    daemon = a_daemon("blog", page_url="http://127.0.0.1:8080/")
    (line,) = printed(EventPrinter(daemon, stops=True), capsys, blog=RUNNING)
    assert line.endswith(
        "Ctrl-C stops it; page: http://127.0.0.1:8080/;"
        " in another terminal: 'reconciler page' logs you in there, 'reconciler status'"
    )


def test_commands_are_named_as_they_can_be_typed_from_a_checkout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "a checkout" / "reconciler"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    (line,) = printed(EventPrinter(a_daemon("blog")), capsys, blog=RUNNING)
    assert line.endswith(f"in another terminal: '{program}' status")
    monkeypatch.setenv("PATH", str(program.parent))
    (line,) = printed(EventPrinter(a_daemon("blog")), capsys, blog=RUNNING)
    assert line.endswith("in another terminal: 'reconciler status'")


def test_a_state_that_says_it_all_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    EventPrinter(a_daemon("blog")).on_report(Subject("app", "blog"), Report(state="stopped", settled=True))
    assert capsys.readouterr().out.splitlines()[0].split()[2:] == ["blog", "stopped"]


def test_a_host_without_apps_is_not_greeted(capsys: pytest.CaptureFixture[str]) -> None:
    printer = EventPrinter(a_daemon())
    printer.on_report(Subject("service", "db"), Report(state="ready", settled=True))
    assert "Ctrl-C" not in capsys.readouterr().out
