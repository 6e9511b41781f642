"""A git server is told how commits fare: once, whatever it answers, and nothing waits for it."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.convergence.backoff import Backoff
from reconciler.daemon.statuses import reporter as reporting
from reconciler.daemon.statuses.reporter import StatusReporter
from reconciler.planning.origins.commit_status import CommitState, CommitStatus
from reconciler.planning.origins.proof import OriginApp
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.git_statuses import Statuses
from reconciler.state.journal import Journal
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from tests.contract.test_git_origins import Host, app, host, repository
from tests.fakes.authority import Authority, made_in
from tests.fakes.forge import Forge, forge
from tests.support.eventually import soon
from tests.support.repository import Repository as Pushed

__all__ = ["host", "repository"]

OLD, NEW = "a" * 40, "b" * 40
TOKEN = "tok-statuses-very-secret"


@dataclass(slots=True)
class Told:
    """A host that tells a git server; each reporter of it is a daemon's."""

    origin: GitOrigin
    records: Records
    journal: Journal
    server: Forge

    def reporter(self) -> StatusReporter:
        statuses = self.origin.repository.statuses
        assert statuses is not None
        return StatusReporter(self.origin, statuses, self.records, self.journal, context="reconciler/web1", link="")

    def events(self) -> list[str]:
        return [event.text for event in self.journal.newest(None, 100)]

    def recorded(self) -> str:
        """What a next daemon would take as told."""
        return self.records.fact(f"status told of {self.origin.name}") or ""

    def run(self, story: Callable[[StatusReporter], Awaitable[None]]) -> None:
        async def lasting() -> None:
            reporter = self.reporter()
            running = asyncio.create_task(reporter.run())
            try:
                await story(reporter)
            finally:
                running.cancel()
                await asyncio.wait((running,))

        asyncio.run(lasting())


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setenv("no_proxy", "*")
    for name in ("_SOON", "_RARELY"):
        monkeypatch.setattr(reporting, name, Backoff(first_s=0.05, cap_s=0.05))
    authority: Authority = made_in(tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with forge(authority.serving) as server, closing(open_database(tmp_path / "state.db")) as database:
        statuses = Statuses(
            forge="gitea", api=f"{server.url}/api/v1", project="ops/fleet", token=tmp_path / "token", web=server.url
        )
        fleet = Repository(name="fleet", urls=("/x",), signed="no", ca=authority.certificate, statuses=statuses)
        origin = GitOrigin(name="fleet", repository=fleet, branch="main", host="web1")
        yield Told(origin, Records(database), Journal(database), server)


def status(state: CommitState, commit: str = NEW, text: str = "") -> CommitStatus:
    return CommitStatus(commit=commit, state=state, text=text or state)


def test_every_state_is_told_and_the_next_daemon_repeats_none(told: Told) -> None:
    async def first(reporter: StatusReporter) -> None:
        for state in ("pending", "failure", "success"):
            reporter.tell(status(state))
            await soon(lambda state=state: told.server.states()[-1:] == [(NEW, state)])  # type: ignore[misc]

        await soon(lambda: '"success"' in told.recorded())

    async def second(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await asyncio.sleep(0.2)
        reporter.tell(status("error", OLD, "cannot write its files"))
        await soon(lambda: len(told.server.asked) == 4)

    told.run(first)
    told.run(second)
    assert told.server.states() == [(NEW, "pending"), (NEW, "failure"), (NEW, "success"), (OLD, "error")]
    path, headers, body = told.server.asked[-1]
    assert path == f"/api/v1/repos/ops/fleet/statuses/{OLD}"
    assert headers["Authorization"] == f"token {TOKEN}"
    assert body == {"state": "error", "context": "reconciler/web1", "description": "cannot write its files"}
    assert told.events() == []


@pytest.mark.parametrize(
    ("answer", "why", "is_tried_again"),
    [
        (401, "it answered 401: it does not know the token", True),
        (403, "it answered 403: the token may not write statuses of commits, or the project is another one", True),
        (404, "it answered 404: the token may not write statuses of commits, or the project is another one", True),
        (422, "it answered 422", False),
        (429, "it answered 429: too many requests", True),
        (500, "it answered 500", True),
        (503, "it answered 503", True),
        (302, "it answered 302: name the address that it redirects to in 'api'", True),
    ],
)
def test_what_is_not_taken_is_told_once_and_tried_again_unless_it_never_will_be(
    told: Told, monkeypatch: pytest.MonkeyPatch, answer: int, why: str, is_tried_again: bool
) -> None:
    told.server.answers = [answer] * 3
    told.server.headers = {"Location": "https://elsewhere.example.com/"} if answer == 302 else {}
    if answer == 429:
        told.server.headers = {"Retry-After": "1"}
        told.server.answers = [answer]

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("failure"))
        if is_tried_again:
            await soon(lambda: not told.server.answers and len(told.server.asked) > 1)
        else:
            await soon(told.events)
            reporter.tell(status("success", OLD))
            await soon(lambda: len(told.server.asked) == 2)
            told.server.answers.clear()

    told.run(story)
    assert told.events() == [f"cannot tell localhost how commit {NEW[:7]} fares: {why}"]
    if not is_tried_again:
        assert told.server.states() == [(NEW, "failure"), (OLD, "success")]


def test_a_server_that_fails_in_one_way_after_another_is_told_of_once(told: Told) -> None:
    told.server.answers = [502, 503, 500, 504]

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await soon(lambda: len(told.server.asked) == 5)

    told.run(story)
    assert told.events() == [f"cannot tell localhost how commit {NEW[:7]} fares: it answered 502"]


@pytest.mark.parametrize("cause", ["another token", "another commit"])
def test_a_token_that_is_refused_is_tried_again_once_it_or_the_commit_is_another_one(
    told: Told, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    monkeypatch.setattr(reporting, "_RARELY", Backoff(first_s=3600.0, cap_s=3600.0))
    monkeypatch.setattr(reporting, "_LOOK_AT_TOKEN_EVERY_S", 0.05)
    told.server.answers = [401]

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("failure", OLD))
        await soon(told.events)
        if cause == "another token":
            assert told.origin.repository.statuses is not None
            told.origin.repository.statuses.token.write_text("tok-another-one-at-last")
            await soon(lambda: told.server.states()[1:] == [(OLD, "failure")])
        else:
            reporter.tell(status("success"))
            await soon(lambda: told.server.states()[1:] == [(NEW, "success")])

    told.run(story)
    assert len(told.events()) == 1


def test_a_token_that_is_back_is_used_within_seconds(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_SOON", Backoff(first_s=3600.0, cap_s=3600.0))
    monkeypatch.setattr(reporting, "_LOOK_AT_TOKEN_EVERY_S", 0.05)
    assert told.origin.repository.statuses is not None
    token = told.origin.repository.statuses.token

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("success", OLD))
        await soon(told.server.states)
        token.unlink()
        reporter.tell(status("success"))
        await soon(told.events)
        token.write_text(TOKEN)
        await soon(lambda: told.server.states()[1:] == [(NEW, "success")])

    told.run(story)


def test_a_pause_that_the_server_asks_for_is_kept_whatever_comes(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_LOOK_AT_TOKEN_EVERY_S", 0.05)
    told.server.answers, told.server.headers = [404], {"Retry-After": "3600"}

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("failure", OLD))
        await soon(told.events)
        reporter.tell(status("success"))
        await asyncio.sleep(0.3)

    told.run(story)
    assert len(told.server.asked) == 1


def test_another_place_in_the_settings_is_told_what_the_one_before_knows(told: Told) -> None:
    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await soon(lambda: len(told.server.asked) == 2)

    told.server.answers = [422]  # the project is another one

    async def refused(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await soon(told.events)

    told.run(refused)
    statuses = told.origin.repository.statuses
    assert statuses is not None
    right = replace(statuses, project="ops/hosts")
    told.origin = replace(told.origin, repository=replace(told.origin.repository, statuses=right))
    told.run(story)
    assert [path.rpartition("/statuses/")[0] for path, _, _ in told.server.asked] == [
        "/api/v1/repos/ops/fleet",
        "/api/v1/repos/ops/hosts",
    ]


def test_a_proxy_that_refuses_is_told_of_in_its_words(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        client, _ = listening.accept()
        with closing(client):
            client.recv(4096)
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setattr(reporting, "_SOON", Backoff(first_s=3600.0, cap_s=3600.0))
        proxy = threading.Thread(target=refuse)
        proxy.start()

        async def story(reporter: StatusReporter) -> None:
            reporter.tell(status("success"))
            await soon(told.events)

        told.run(story)
        proxy.join()
    (event,) = told.events()
    assert event.endswith("fares: Tunnel connection failed: 407 Proxy Authentication Required")


def test_a_status_that_gitlab_has_already_is_taken(told: Told) -> None:
    told.server.answers = [400]
    told.server.body = b'{"message":"Cannot transition status via :enqueue from :pending"}'

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("pending"))  # as a daemon told it that was killed before it wrote that down
        await soon(lambda: len(told.server.asked) == 1)
        reporter.tell(status("success"))
        await soon(lambda: told.server.states()[1:] == [(NEW, "success")])

    told.run(story)
    assert told.events() == []


def test_a_server_that_is_away_or_hangs_keeps_nothing_waiting_and_is_told_the_latest_once_it_is_back(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_ANSWER_WITHIN_S", 0.3)
    told.server.is_silent = True

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("failure", OLD))
        await soon(told.events)
        for state in ("pending", "failure", "success"):
            reporter.tell(status(state))
        told.server.is_silent = False
        told.server.closing.set()  # which ends the requests that hang
        await soon(lambda: told.server.states()[-1:] == [(NEW, "success")])

    told.run(story)
    assert told.events() == [f"cannot tell localhost how commit {OLD[:7]} fares: it does not answer in time"]
    assert (NEW, "failure") not in told.server.states()


def test_a_token_that_cannot_be_read_is_told_without_what_it_holds(told: Told) -> None:
    assert told.origin.repository.statuses is not None
    token = told.origin.repository.statuses.token
    token.write_text("two\nlines of a secret token")

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await soon(told.events)
        token.write_text(TOKEN)
        await soon(lambda: told.server.states() == [(NEW, "success")])

    told.run(story)
    (event,) = told.events()
    assert event.startswith(f"cannot tell localhost how commit {NEW[:7]} fares: cannot use the token in {token}: ")
    assert "secret" not in event


def test_a_server_with_another_certificate_gets_no_token(told: Told, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = made_in(tmp_path / "other").certificate
    told.origin = replace(told.origin, repository=replace(told.origin.repository, ca=other))

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await soon(told.events)

    told.run(story)
    assert "its certificate is not trusted" in told.events()[0]
    assert told.server.asked == []


def test_what_cannot_be_written_down_is_told_all_the_same(told: Told) -> None:
    class Full:
        def fact(self, _: str) -> str | None:
            return "{damaged"

        def set_fact(self, _: str, __: str) -> None:
            import sqlite3

            raise sqlite3.OperationalError("database or disk is full")

    told.records = Full()  # type: ignore[assignment]

    async def story(reporter: StatusReporter) -> None:
        reporter.tell(status("success"))
        await soon(lambda: told.server.states() == [(NEW, "success")])

    told.run(story)


def test_a_commit_is_told_of_from_its_refusal_to_its_success(host: Host, repository: Pushed) -> None:
    def last() -> tuple[str, str, str]:
        found = [each for each in host.statuses if each is not None][-1]
        return found.commit, found.state, found.text

    good = repository.push(app("shop"))
    host.follow()
    assert last() == (good, "success", "in force, and its apps are up to date")
    bad = repository.push({**app("shop", "wrokers: 2\n")})
    host.follow()
    assert last() == (
        bad,
        "failure",
        "fleet/hosts/web1/shop.yaml:2:1: wrokers: unknown field 'wrokers'; did you mean 'workers'?",
    )
    broken = repository.push(app("shop", code="application = 2\n"))
    shop = OriginApp(name="shop", revision="2f1e", outcome="failed", rejected="it exited")
    host.apps = {good: [replace(shop, revision="1a1a", outcome="up-to-date", rejected="")], broken: [shop]}
    host.follow()
    assert last()[:2] == (broken, "failure")
    unbuilt = repository.push(app("shop", code="application = 3\n"))
    host.apps[unbuilt] = [replace(shop, revision="3a3a", rejected="", unbuilt="no index")]
    host.follow()
    assert last() == (unbuilt, "error", "shop: no index")
