"""The clock of this host beside that of a git server, which is asked over https."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from reconciler.inspection.checks.check import Check
from reconciler.inspection.checks.git_clocks import git_clocks, now_s
from reconciler.settings.git import Repository
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from tests.fakes.authority import Authority, made_in
from tests.servers.git_http import GitServer, answering, git_server

DAY_S = 86400.0
NOWHERE = Settings(manifests=Path("/nonexistent"), paths=StatePaths(state=Path("/nonexistent")))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return made_in(tmp_path)


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[GitServer]:
    with git_server(tmp_path, authority.serving) as serving:
        yield serving


def found(server: GitServer, authority: Authority, clock: Callable[[], float] = now_s) -> list[Check]:
    urls = (server.url(), server.url("mirror.git"))
    repository = Repository(name="fleet", urls=urls, signed="no", ca=authority.certificate)
    return [*git_clocks(replace(NOWHERE, repositories={"fleet": repository}), clock)]


@pytest.mark.parametrize("status", [200, 302, 401, 404, 503])
def test_a_clock_that_is_right_agrees_with_any_answer_and_no_credentials_are_sent(
    server: GitServer, authority: Authority, status: int
) -> None:
    server.instead = answering(status)
    (check,) = found(server, authority)
    assert (check.level, check.found) == ("ok", "the clock of this host agrees with it")
    assert check.subject == f"clock of localhost:{server.port}"
    assert server.asked == [("/fleet.git", "")]


@pytest.mark.parametrize(
    ("off_s", "told"), [(2 * DAY_S + 10, "2d ahead of that"), (90 - 365 * DAY_S, "364d23h behind that")]
)
def test_a_clock_that_is_wrong_is_told_with_both_times_and_what_to_do(
    server: GitServer, authority: Authority, off_s: float, told: str
) -> None:
    server.instead = answering(401)
    (check,) = found(server, authority, lambda: now_s() + off_s)
    assert check.level == "warn"
    assert check.found.startswith(f"the clock of this host is {told} of the server: here it is 20")
    assert check.found.count(" UTC") == 2
    assert check.advice.startswith("set the clock of this host")


def test_an_answer_that_was_kept_on_the_way_is_as_old_as_it_says(server: GitServer, authority: Authority) -> None:
    server.instead = dated(formatdate(now_s() - 600, usegmt=True), "600")
    assert [check.level for check in found(server, authority)] == ["ok"]


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Thu, 99 Nov 2026 25:00:00 GMT", "Fri, 27 Nov 99999 1:1:1 GMT"]
)
def test_a_server_that_tells_no_time_is_not_compared(server: GitServer, authority: Authority, date: str | None) -> None:
    server.instead = dated(date)
    assert found(server, authority) == []


def test_a_certificate_that_this_clock_forbids_is_told_with_the_time(tmp_path: Path) -> None:
    ended = made_in(tmp_path, ended=True)
    with git_server(tmp_path, ended.serving) as server:
        (check,) = found(server, ended)
    assert check.level == "warn"
    assert check.found.startswith("its certificate has ended by the clock of this host, which says 20")
    assert check.advice.startswith("if that is not the time, set the clock")


def test_a_server_that_cannot_be_trusted_or_reached_is_a_matter_of_its_origins(
    tmp_path: Path, server: GitServer, authority: Authority
) -> None:
    (tmp_path / "other").mkdir()
    assert found(server, made_in(tmp_path / "other")) == []
    assert found(replace(server, port=1), authority) == []
    assert found(server, replace(authority, certificate=tmp_path / "none.pem")) == []


def test_what_is_fetched_without_https_has_no_clock() -> None:
    repository = Repository(name="fleet", urls=("/srv/fleet.git", "ssh://git@localhost/x"), signed="no")
    assert [*git_clocks(replace(NOWHERE, repositories={"fleet": repository}))] == []


def dated(date: str | None, age: str | None = None) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Answer with headers of a time, and no others."""

    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response_only(200)
        for name, value in (("Date", date), ("Age", age)):
            if value is not None:
                request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return answer
