"""Sessions: signed by the token, bounded in time, and forms that only our own pages can send."""

import asyncio
import time
from pathlib import Path

import pytest
from starlette.requests import Request

from reconciler.settings.settings import Api
from reconciler.web.authentication import Access, Caller, Unauthenticated
from reconciler.web.login_links import LINK_S
from reconciler.web.responses import Problem
from reconciler.web.sessions import NO_SESSION, SESSION_S, Session, split

TOKEN = "a-token-of-these-tests"


@pytest.fixture
def access(tmp_path: Path) -> Access:
    (tmp_path / "token").write_text(TOKEN)
    return Access(
        Api(host="127.0.0.1", port=9000, token=tmp_path / "token", writable=True),
        tmp_path / "sessions.json",
        tmp_path / "links.json",
    )


def _request(
    session: Session = NO_SESSION, *, transport: str = "tcp", peer: str = "192.0.2.1", **headers: str
) -> Request:
    sent = {"host": "127.0.0.1:9000", "cookie": f"reconciler={session.cookie}", **headers}
    return Request({
        "type": "http", "method": "POST", "path": "/", "query_string": b"", "client": (peer, 50000),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
        "state": {"transport": transport, "peer": "root" if transport == "unix" else None, "base": session.base},
    })  # fmt: skip


def _session(access: Access) -> Session:
    session = asyncio.run(access.log_in(_request(), TOKEN))
    assert session
    return session


def _callers(access: Access, *sessions: Session) -> list[Caller | None]:
    found: list[Caller | None] = []
    for session in sessions:
        try:
            found.append(access.authenticate(_request(session)))
        except Unauthenticated:
            found.append(None)
    return found


def test_a_session_needs_both_its_path_and_its_cookie(access: Access) -> None:
    session, other = _session(access), _session(access)
    accepted, *refused = _callers(
        access, session, NO_SESSION, Session("", session.cookie), Session(session.base, ""),
        Session(other.base, session.cookie), Session(session.base, TOKEN), Session(session.base, session.cookie[:-1]),
    )  # fmt: skip
    assert accepted is not None
    assert (accepted.name, accepted.may_write, accepted.is_new) == ("token", True, False)
    assert refused == [None] * len(refused)


def test_a_session_that_was_logged_out_is_none_any_more_and_no_other_ends(access: Access, tmp_path: Path) -> None:
    session, other = _session(access), _session(access)
    (caller,) = _callers(access, session)
    assert caller is not None
    assert access.is_open(caller)
    access.log_out(caller)
    assert not access.is_open(caller)
    assert [found is not None for found in _callers(access, session, other)] == [False, True]
    later = Access(access._api, tmp_path / "sessions.json", tmp_path / "links.json")
    assert [found is not None for found in _callers(later, session, other)] == [False, True]


def test_a_session_that_cannot_be_struck_off_the_list_takes_all_with_it(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, other = _session(access), _session(access)
    (caller,) = _callers(access, session)
    assert caller is not None

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reconciler.web.expiring_digests.replace_file", full)
    access.log_out(caller)
    assert [found is not None for found in _callers(access, session, other)] == [False, True]
    later = Access(access._api, tmp_path / "sessions.json", tmp_path / "links.json")
    assert _callers(later, session, other) == [None, None]


def test_the_list_of_sessions_is_private_and_holds_neither_secret(access: Access, tmp_path: Path) -> None:
    session, file = _session(access), tmp_path / "sessions.json"
    assert file.stat().st_mode & 0o777 == 0o600
    listed = file.read_text(encoding="ascii")
    assert not any(secret in listed for secret in (session.cookie, session.base, session.base[3:], TOKEN))


@pytest.mark.parametrize("content", ["", "[", "[]", "null", '{"x": null}', "[" * 100_000, '{"a": "b"}', "\x00"])
def test_a_damaged_list_of_sessions_is_an_empty_one(access: Access, tmp_path: Path, content: str) -> None:
    session = _session(access)
    (tmp_path / "sessions.json").write_text(content)
    assert _callers(access, session) == [None]
    assert _callers(access, _session(access)) != [None]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ("", "/")),
        ("/s/" + "x" * 22, ("", "/s/" + "x" * 22)),
        ("/s/" + "x" * 22 + "/apps/blog", ("/s/" + "x" * 22, "/apps/blog")),
        ("/s/" + "x" * 21 + "/", ("", "/s/" + "x" * 21 + "/")),
    ],
)
def test_the_base_of_a_session_is_the_beginning_of_a_path(path: str, found: tuple[str, str]) -> None:
    assert split(path) == found


def _status(access: Access, *, peer: str, **headers: str) -> int:
    try:
        access.authenticate(_request(NO_SESSION, peer=peer, **headers))
    except Unauthenticated:
        return 401
    except Problem as problem:
        return problem.status_code
    return 200


def test_wrong_tokens_are_limited_by_address_and_keep_no_other_address_out(access: Access) -> None:
    guesses = [_status(access, peer="192.0.2.1", authorization=f"Bearer guess-{n}") for n in range(50)]
    assert guesses[:10] == [401] * 10
    assert set(guesses[10:]) == {429}
    assert _status(access, peer="192.0.2.1", authorization=f"Bearer {TOKEN}") == 429
    assert _status(access, peer="192.0.2.2", authorization=f"Bearer {TOKEN}") == 200
    with pytest.raises(Problem) as refused:
        asyncio.run(access.log_in(_request(), TOKEN))
    assert refused.value.status_code == 429
    assert asyncio.run(access.log_in(_request(peer="192.0.2.2"), TOKEN))


def test_a_right_token_that_is_long_gets_through_beside_a_guesser_of_the_same_address(
    access: Access, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(long := TOKEN + "-of-some-length")
    link = access.login_link(access.authenticate(_request(transport="unix"))).rpartition("/")[2]
    for n in range(50):
        _status(access, peer="192.0.2.1", authorization=f"Bearer guess-{n}")
    assert _status(access, peer="192.0.2.1", authorization="Bearer guess") == 429
    assert _status(access, peer="192.0.2.1", authorization=f"Bearer {long}") == 200
    assert asyncio.run(access.log_in(_request(), long))
    assert asyncio.run(access.log_in(_request(), "", link))
    with pytest.raises(Problem) as refused:
        asyncio.run(access.log_in(_request(), "", link))
    assert refused.value.status_code == 429
    assert _status(access, peer="192.0.2.1", authorization="Bearer guess") == 429


def test_who_is_logged_in_stays_so_beside_a_guesser_of_the_same_address(access: Access) -> None:
    session = _session(access)
    for n in range(50):
        _status(access, peer="192.0.2.1", authorization=f"Bearer guess-{n}")
    assert _callers(access, session) != [None]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("2001:db8::1", "2001:db8::2:0:0:1", True), ("2001:db8::1", "2001:db8:0:1::1", False),
     ("::ffff:192.0.2.1", "192.0.2.1", True), ("127.0.0.1", "127.9.9.9", True), ("127.0.0.1", "192.0.2.1", False)],
)  # fmt: skip
def test_one_client_has_one_limit_whatever_address_of_its_own_it_takes(
    access: Access, one: str, other: str, same: bool
) -> None:
    for n in range(10):
        assert _status(access, peer=one, authorization=f"Bearer guess-{n}") == 401
    assert _status(access, peer=other, authorization="Bearer guess") == (429 if same else 401)


def test_behind_a_proxy_of_this_host_the_address_is_what_the_proxy_saw(access: Access, tmp_path: Path) -> None:
    behind = Access(
        Api(host="127.0.0.1", port=9000, token=tmp_path / "token", writable=True, url="https://apps.example.com"),
        tmp_path / "sessions.json",
        tmp_path / "links.json",
    )
    for n in range(11):
        guess = f"Bearer guess-{n}"
        _status(behind, peer="127.0.0.1", authorization=guess, x_forwarded_for=f"198.51.100.{n}, 192.0.2.1")
        _status(access, peer="203.0.113.1", authorization=guess, x_forwarded_for=f"198.51.100.{n}")
    right = f"Bearer {TOKEN}"
    assert _status(behind, peer="127.0.0.1", authorization=right, x_forwarded_for="192.0.2.1") == 429
    assert _status(behind, peer="127.0.0.1", authorization=right, x_forwarded_for="192.0.2.2") == 200
    assert _status(access, peer="203.0.113.1", authorization=right, x_forwarded_for="192.0.2.2") == 429


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


def _link(access: Access) -> str:
    return access.login_link(access.authenticate(_request(transport="unix"))).rpartition("/")[2]


def test_a_login_link_opens_one_session(access: Access, tmp_path: Path) -> None:
    link = _link(access)
    assert link not in (tmp_path / "links.json").read_text()
    assert (tmp_path / "links.json").stat().st_mode & 0o777 == 0o600
    later = Access(access._api, tmp_path / "sessions.json", tmp_path / "links.json")
    for at in (later, access):
        assert asyncio.run(at.log_in(_request(peer="192.0.2.2"), "", link[:-1] + "~")) is None
    session = asyncio.run(later.log_in(_request(), "", link))
    assert session
    assert _callers(access, session)[0] is not None
    for again in (later, access):
        assert asyncio.run(again.log_in(_request(), "", link)) is None
    assert asyncio.run(access.log_in(_request(), "", "")) is None


def test_a_login_link_ends_after_its_time_and_with_the_token(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, stale = _link(access), _link(access)
    now = time.time()  # noqa: TID251  what links are bounded by
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: now + LINK_S + 1)
        assert asyncio.run(access.log_in(_request(), "", late)) is None
    (tmp_path / "token").write_text(f"{TOKEN}-changed")
    assert asyncio.run(access.log_in(_request(), "", stale)) is None


def test_only_the_socket_gives_login_links(access: Access, tmp_path: Path) -> None:
    caller = access.authenticate(_request(_session(access)))
    with pytest.raises(Problem, match="only the socket"):
        access.login_link(caller)
    without = Access(None, tmp_path / "sessions.json", tmp_path / "links.json")
    with pytest.raises(Problem, match="run --page"):
        without.login_link(without.authenticate(_request(transport="unix")))


def test_a_form_needs_the_token_of_its_own_session(access: Access) -> None:
    one, other = _callers(access, _session(access), _session(access))
    assert one is not None
    assert other is not None
    access.check_write(_request(one.session), one, one.form_token)
    for wrong in ("", None, other.form_token, one.session.cookie):
        with pytest.raises(Problem) as refused:
            access.check_write(_request(one.session), one, wrong)
        assert refused.value.status_code == 403


def test_a_browser_on_the_socket_gets_a_session_that_is_no_session_elsewhere(access: Access) -> None:
    caller = access.authenticate(_request(transport="unix"))
    assert (caller.name, caller.is_local, caller.is_new, caller.may_write) == ("root", True, True, True)
    again = access.authenticate(_request(caller.session, transport="unix"))
    assert (again.session, again.is_new, again.form_token) == (caller.session, False, caller.form_token)
    assert _callers(access, caller.session) == [None]
