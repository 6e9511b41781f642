"""Sessions: signed by the token, bounded in time, and forms that only our own pages can send."""

import asyncio
import time
from pathlib import Path

import pytest
from starlette.requests import Request

from reconciler.settings.settings import Api
from reconciler.web.authentication import SESSION_S, Access, Caller, Unauthenticated
from reconciler.web.responses import Problem

TOKEN = "a-token-of-these-tests"


@pytest.fixture
def access(tmp_path: Path) -> Access:
    (tmp_path / "token").write_text(TOKEN)
    return Access(Api(host="127.0.0.1", port=9000, token=tmp_path / "token", writable=True))


def _request(cookie: str = "", *, transport: str = "tcp", **headers: str) -> Request:
    sent = {"host": "127.0.0.1:9000", "cookie": f"reconciler={cookie}", **headers}
    return Request({
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "state": {"transport": transport, "peer": "root" if transport == "unix" else None},
    })  # fmt: skip


def _session(access: Access) -> str:
    session = asyncio.run(access.log_in(_request(), TOKEN))
    assert session
    return session


def _callers(access: Access, *cookies: str) -> list[Caller | None]:
    found: list[Caller | None] = []
    for cookie in cookies:
        try:
            found.append(access.authenticate(_request(cookie)))
        except Unauthenticated:
            found.append(None)
    return found


def test_a_session_is_accepted_as_it_was_issued_and_in_no_other_form(access: Access) -> None:
    session = _session(access)
    value, timestamp, signature = session.split(".")
    accepted, *refused = _callers(
        access, session, "", "x", value, f"{value}.{timestamp}", f"x{session}",
        f"{value}.{timestamp}.{signature[::-1]}",
        f"{value}.zzzzzz.{signature}", f"{session}.", "\u00e9.\u00e9.\u00e9", TOKEN,
    )  # fmt: skip
    assert accepted is not None
    assert (accepted.name, accepted.may_write, accepted.is_new) == ("token", True, False)
    assert refused == [None] * len(refused)
    assert TOKEN not in session


def test_a_session_ends_after_its_time(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _session(access)
    now = time.time()  # noqa: TID251  sessions are stamped with it
    for later, is_valid in ((SESSION_S - 60, True), (SESSION_S + 60, False)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        assert (_callers(access, session) != [None]) is is_valid


def test_a_changed_token_ends_every_session(access: Access, tmp_path: Path) -> None:
    session = _session(access)
    (tmp_path / "token").write_text(f"{TOKEN}-changed")
    assert _callers(access, session) == [None]


def test_a_wrong_token_gets_no_session(access: Access) -> None:
    assert asyncio.run(access.log_in(_request(), "wrong")) is None


def test_a_form_needs_the_token_of_its_own_session(access: Access) -> None:
    one, other = _callers(access, _session(access), _session(access))
    assert one is not None
    assert other is not None
    access.check_write(_request(one.session), one, one.form_token)
    for wrong in ("", None, other.form_token, one.session):
        with pytest.raises(Problem) as refused:
            access.check_write(_request(one.session), one, wrong)
        assert refused.value.status_code == 403


def test_a_browser_on_the_socket_gets_a_session_that_is_no_session_elsewhere(access: Access) -> None:
    caller = access.authenticate(_request(transport="unix"))
    assert (caller.name, caller.is_local, caller.is_new, caller.may_write) == ("root", True, True, True)
    again = access.authenticate(_request(caller.session, transport="unix"))
    assert (again.session, again.is_new, again.form_token) == (caller.session, False, caller.form_token)
    assert _callers(access, caller.session) == [None]
