"""The API of a daemon that runs: what it tells, whom it lets in, and that nobody there can disturb convergence."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from reconciler.linux.unix_sockets import reachable
from tests.support.eventually import eventually
from tests.support.hosts import explained
from tests.support.site import Site, get, is_gone
from tests.support.store import Store
from tests.support.web import (
    TOKEN,
    Answer,
    bearer,
    events,
    fetch,
    from_address,
    open_session,
    settings_with,
    web_process,
)


@pytest.fixture
def host(tmp_path: Path, store: Store, request: pytest.FixtureRequest) -> Iterator[tuple[Site, int]]:
    """A daemon with one app, the API writable on TCP."""
    for site in explained(Site.at(tmp_path, store), request):
        site.app("blog")
        port, settings = settings_with(site, writable=True)
        site.start("--settings", str(settings))
        site.await_settled("blog")
        yield site, port


def test_the_api_tells_what_status_tells(shared: tuple[Site, int]) -> None:
    site, port = shared
    told = fetch(site.paths.api, "/api/v1/status").json
    expected = site.status()
    more = {"memory_bytes", "cpu", "requests_per_second", "queue", "queue_wait_seconds"}
    assert [{k: v for k, v in app.items() if k not in more} for app in told["apps"]] == expected["apps"]
    assert told["daemon"] == expected["daemon"]
    assert told["apps"][0]["memory_bytes"] > 2**20
    assert fetch(port, "/api/v1/apps/blog", headers=bearer()).json["state"] == "running"
    assert [p["name"] for p in fetch(site.paths.api, "/api/v1/plan/blog").json["apps"]] == ["blog"]
    assert fetch(site.paths.api, "/api/v1/manifests").json["manifests"][0]["errors"] == []
    assert fetch(site.paths.api, "/api/v1/services").json == {"services": []}


def test_what_goes_wrong_is_told_as_a_problem(shared: tuple[Site, int]) -> None:
    site, _ = shared
    for path, status in {
        "/api/v1/apps/none": 404,
        "/api/v1/nowhere": 404,
        "/api/v1/logs/none": 404,
        "/api/v1/logs/..%2f..%2fetc": 404,
        "/api/v1/logs/blog?which=../../token": 400,
        "/api/v1/logs/blog?lines=-1": 400,
        "/api/v1/events?limit=0": 400,
        "/api/v1/events?after=x": 400,
    }.items():
        told = fetch(site.paths.api, path)
        assert (told.status, told.headers["content-type"]) == (status, "application/problem+json"), path
        assert told.json["status"] == status
        assert told.json["detail"]
    assert fetch(site.paths.api, "/api/v1/apps", "DELETE").status == 405


def test_events_follow_on_from_the_last_one_seen(shared: tuple[Site, int]) -> None:
    site, _ = shared
    known = fetch(site.paths.api, "/api/v1/events?app=blog").json["events"]
    assert [e["kind"] for e in known][-1] == "ready"
    after = known[0]["id"]
    page = fetch(site.paths.api, f"/api/v1/events?app=blog&after={after}&limit=1").json["events"]
    assert page == [known[1]]
    streamed = events(site.paths.api, "/api/v1/events?app=blog", 2, {"Last-Event-ID": str(after)})
    assert [json.loads(e["data"]) for e in streamed] == known[1:3]
    assert [int(e["id"]) for e in streamed] == [e["id"] for e in known[1:3]]


def test_a_log_is_followed_through_its_rotation(host: tuple[Site, int]) -> None:
    site, _ = host
    log = site.paths.log("blog", "staging")
    lines = fetch(site.paths.api, "/api/v1/logs/blog?which=staging&lines=1").json["lines"]
    assert lines == log.read_text().splitlines()[-1:]
    log.rename(log.with_suffix(".old"))
    log.write_text("the next file\n")
    (told,) = events(site.paths.api, "/api/v1/logs/blog?which=staging", 1)
    assert json.loads(told["data"]) == ["the next file"]


def test_a_request_over_the_socket_is_done_and_noted(host: tuple[Site, int]) -> None:
    site, _ = host
    before = site.pid("blog")
    done = _ask(site.paths.api, {"do": "restart", "app": "blog"})
    assert (done.status, done.json["done"].startswith("blog: ")) == (200, True)
    site.await_successor("blog", before)
    assert "request" in [kind for _, kind, _ in site.events("blog")]
    assert _ask(site.paths.api, {"do": "rollback", "app": "blog"}).status == 409
    assert _ask(site.paths.api, {"do": "restart", "app": "none"}).status == 404
    assert "2 workers for 1h" in _ask(site.paths.api, {"do": "scale", "app": "blog", "workers": 2, "for": 3600}).body
    eventually(lambda: site.told("blog")["workers"] == 2)
    eventually(lambda: "until <time" in fetch(site.paths.api, "/apps/blog").body)
    assert 'href="/apps/blog/scale"' in fetch(site.paths.api, "/apps/blog").body
    assert "How many workers" in fetch(site.paths.api, "/apps/blog/scale").body
    for fields, code in (({}, 422), ({"workers": 0}, 409), ({"workers": 2, "revision": "1a"}, 422)):
        assert _ask(site.paths.api, {"do": "scale", "app": "blog", **fields}).status == code
    assert _ask(site.paths.api, {"do": "scale", "app": "blog", "workers": None}).status == 200
    eventually(lambda: site.told("blog")["workers"] == 1)
    assert _ask(site.paths.api, {"do": "explode", "app": "blog"}).status == 422
    assert _ask(site.paths.api, {"do": "restart", "app": "../x"}).status == 422
    assert _ask(site.paths.api, ["restart"]).status == 422
    assert _ask(site.paths.api, {"do": "backup", "service": "none"}).status == 404
    for wrong in ({"app": "blog"}, {"service": "../x"}, {"service": "db", "revision": "1a"}):
        assert _ask(site.paths.api, {"do": "backup", **wrong}).status == 422
    assert fetch(site.paths.api, "/api/v1/requests", "POST", "{", {"Content-Type": "application/json"}).status == 400
    huge = json.dumps({"do": "x" * 20_000, "app": "blog"})
    assert fetch(site.paths.api, "/api/v1/requests", "POST", huge, {"Content-Type": "application/json"}).status == 413


@pytest.mark.parametrize(
    ("number", "headers"),
    [*enumerate([
        {},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        bearer("\xff" * 22),
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer{TOKEN}"},
        {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN},"},
        {"Authorization": f"Bearer \xa0{TOKEN}"},
        {"X-Token": TOKEN},
        {"Cookie": f"reconciler={TOKEN}"},
        {"Cookie": "reconciler=9999999999.nonce.0000"},
        {"Cookie": "reconciler=9999999999.nonce."},
        {"Cookie": "reconciler="},
    ])],
)  # fmt: skip
def test_on_tcp_nobody_is_let_in_without_the_token(
    shared: tuple[Site, int], number: int, headers: dict[str, str]
) -> None:
    _, port = shared
    headers = {**headers, **from_address(number)}
    told = fetch(port, "/api/v1/apps", headers={k: v.encode("latin-1").decode("latin-1") for k, v in headers.items()})
    assert told.status == 401
    assert TOKEN not in told.body
    assert fetch(port, f"/api/v1/apps?token={TOKEN}").status == 401
    assert fetch(port, "/", headers=headers).headers["location"] == "/login"


def test_the_token_is_sent_once_by_a_scheme_of_any_case(shared: tuple[Site, int]) -> None:
    _, port = shared
    right, proxy = f"Authorization: Bearer {TOKEN}", "X-Forwarded-For: 192.0.2.100"
    for sent, status in [
        ([right], 200),
        ([f"authorization: bearer   {TOKEN}  "], 200),
        ([f"AUTHORIZATION:\tBEARER {TOKEN}\t"], 200),
        ([right, right], 401),
        ([right, "Authorization: Bearer wrong"], 401),
        (["Authorization: Bearer wrong", right], 401),
        (["Authorization:", right], 401),
    ]:
        told = _raw(port, ["GET /api/v1/apps HTTP/1.1", "Host: localhost", "Connection: close", proxy, *sent])
        assert int(told.split()[1]) == status, sent


def test_only_a_post_of_the_right_type_is_an_action(shared: tuple[Site, int]) -> None:
    site, port = shared
    before = site.pid("blog")
    body = json.dumps({"do": "restart", "app": "blog"})
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        sent = {**bearer(), "Content-Type": "application/json", "X-HTTP-Method-Override": "POST"}
        assert fetch(port, "/api/v1/requests", method, body, sent).status == 405, method
    for kind in ("", "application/jsonp", "text/plain; application/json", "application/json, text/plain", "text/json"):
        assert fetch(port, "/api/v1/requests", "POST", body, {**bearer(), "Content-Type": kind}).status == 415, kind
    base, session = open_session(port)
    restart = f"{base}/apps/blog/restart"
    found = re.search(r'name="form_token" value="([\w-]+)"', fetch(port, restart, headers=session).body)
    assert found
    for method in ("GET", "HEAD"):
        told = fetch(port, f"{restart}?form_token={found[1]}", method, headers=session)
        assert told.status == 200  # the page that asks once more
    form = {**session, "Content-Type": "application/x-www-form-urlencoded"}
    for twice in (f"form_token={found[1]}&form_token={found[1]}", f"form_token=x&form_token={found[1]}"):
        assert fetch(port, restart, "POST", twice, form).status == 400
    multipart = {**session, "Content-Type": "multipart/form-data; boundary=x"}
    assert fetch(port, restart, "POST", f"form_token={found[1]}", multipart).status == 415
    assert site.pid("blog") == before
    assert "request" not in [kind for _, kind, _ in site.events("blog")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[tuple[Site, int]]:
    """A daemon that tests only look at or fail to change: nobody's test depends on another's."""
    site = Site.at(tmp_path_factory.mktemp("site"), store)
    try:
        site.app("blog")
        port, settings = settings_with(site, behind_proxy=True, writable=True)
        site.start("--settings", str(settings))
        site.await_settled("blog")
        yield site, port
    finally:
        site.close()


@pytest.mark.parametrize(
    "host_header", ["evil.example", "evil.example:80", "localhost.evil.example", "user@localhost", "", "127.0.0.1.evil"]
)
def test_a_name_that_is_not_ours_is_refused_at_both_doors(shared: tuple[Site, int], host_header: str) -> None:
    site, port = shared
    assert fetch(port, "/api/v1/apps", headers={**bearer(), "Host": host_header}).status == 421
    assert fetch(site.paths.api, "/api/v1/apps", headers={"Host": host_header}).status == 421
    assert fetch(port, "/login", headers={"Host": host_header}).status == 421


def test_a_session_is_a_careful_cookie_and_ends_with_the_token(shared: tuple[Site, int]) -> None:
    site, port = shared
    wrong = _form(port, "/login", {"token": "wrong"}, from_address(101))
    assert (wrong.status, "set-cookie" in wrong.headers) == (403, False)
    answer = _form(port, "/login", {"token": TOKEN})
    given, base = answer.headers["set-cookie"], answer.headers["location"].rstrip("/")
    assert re.search("HttpOnly", given)
    assert re.search("SameSite=strict", given, re.IGNORECASE)
    assert f"Path={base};" in given
    assert TOKEN not in given
    cookie = {"Cookie": given.partition(";")[0]}
    assert fetch(port, f"{base}/api/v1/apps", headers=cookie).status == 200
    assert fetch(port, f"{base}/", headers={"Cookie": cookie["Cookie"][:-2]}).headers["location"] == "/login?ended"
    (site.root / "token").write_text("another-token-altogether\n")
    try:
        assert fetch(port, f"{base}/api/v1/apps", headers=cookie).status == 401
    finally:
        (site.root / "token").write_text(f"{TOKEN}\n")


def test_a_number_of_workers_is_asked_for_and_ended_on_the_page(host: tuple[Site, int]) -> None:
    site, port = host
    base, cookie = open_session(port)
    path = f"{base}/apps/blog/scale"
    found = re.search(r'name="form_token" value="([\w-]+)"', fetch(port, path, headers=cookie).body)
    assert found
    token = {"form_token": found[1]}
    for wrong in ({"workers": "many"}, {"workers": "2", "for": "soon"}):
        assert _form(port, path, {**token, **wrong}, cookie).status == 400
    assert _form(port, path, {"form_token": "", "workers": "2"}, cookie).status == 403
    assert _form(port, path, {**token, "workers": "2", "for": "1h"}, cookie).status == 303
    assert "2 workers for 1h" in fetch(port, f"{base}/apps/blog", headers=cookie).body
    eventually(lambda: site.told("blog")["workers"] == 2)
    eventually(lambda: "As the manifest says" in fetch(port, path, headers=cookie).body)
    assert _form(port, path, {**token, "end": "1"}, cookie).status == 303
    eventually(lambda: site.told("blog")["workers"] == 1)


def test_a_cookie_opens_nothing_without_its_path_and_nothing_after_the_logout(host: tuple[Site, int]) -> None:
    site, port = host
    base, cookie = open_session(port)
    elsewhere, other = open_session(port)
    for path in ("/", "/apps/blog", f"{elsewhere}/", "/s/" + "x" * 22 + "/"):
        assert fetch(port, path, headers=cookie).status == 303
    assert fetch(port, "/api/v1/apps", headers=cookie).status == 401
    assert fetch(port, f"{base}/api/v1/apps").status == 401
    page = fetch(port, f"{base}/", headers=cookie)
    assert page.status == 200
    found = re.search(r'name="form_token" value="([\w-]+)"', page.body)
    assert found
    assert _form(port, f"{base}/logout", {"form_token": found[1]}, cookie).headers["location"] == "/login?ended"
    for process in ("this one", "the next one"):
        assert fetch(port, f"{base}/api/v1/apps", headers=cookie).status == 401, process
        assert _form(port, f"{base}/apps/blog/stop", {"form_token": found[1]}, cookie).status == 303, process
        assert fetch(port, f"{elsewhere}/api/v1/apps", headers=other).status == 200, process
        before = web_process(site)
        assert before
        os.kill(before, signal.SIGKILL)
        eventually(lambda: fetch(port, "/api/v1/apps", headers=bearer()).status == 200)
    assert "request" not in [kind for _, kind, _ in site.events("blog")]


def test_a_form_is_done_only_when_our_own_page_sent_it(shared: tuple[Site, int]) -> None:
    site, port = shared
    doors: list[tuple[Path | int, str, dict[str, str], str]] = []
    base, session = open_session(port)
    doors.append((port, base, session, f"127.0.0.1:{port}"))
    cookie = fetch(site.paths.api, "/").headers["set-cookie"].partition(";")[0]
    doors.append((site.paths.api, "", {"Cookie": cookie}, "localhost"))
    before = site.pid("blog")
    for at, base, known, name in doors:
        page = fetch(at, f"{base}/apps/blog/restart", headers=known)
        found = re.search(r'name="form_token" value="([\w-]+)"', page.body)
        assert found
        right = {"form_token": found[1]}
        elsewhere, other = open_session(port)
        for form, headers in [
            ({}, {}),
            ({"form_token": ""}, {}),
            ({"form_token": found[1][:-1]}, {}),
            ({"form_token": TOKEN}, {}),
            (right, {"Origin": "http://evil.example"}),
            (right, {"Origin": "null"}),
            (right, {"Origin": f"https://{name}"}),
            (right, {"Sec-Fetch-Site": "cross-site"}),
            (right, {"Sec-Fetch-Site": "same-site"}),
        ]:
            told = _form(at, f"{base}/apps/blog/restart", form, {**known, **headers})
            assert told.status == 403, (form, headers)
        if isinstance(at, int):
            assert _form(at, f"{elsewhere}/apps/blog/restart", right, other).status == 403
            assert _form(at, f"{base}/apps/blog/restart", right).status == 303  # to the login
        body = json.dumps({"do": "restart", "app": "blog"})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            sent = {"Content-Type": kind}
            assert fetch(at, f"{base}/api/v1/requests", "POST", body, {**known, **sent}).status == 403
            assert fetch(site.paths.api, "/api/v1/requests", "POST", body, sent).status in (403, 415)
        sent = {"Content-Type": "application/json"}
        assert fetch(at, f"{base}/api/v1/requests", "POST", body, {**known, **sent}).status == 403
        assert fetch(at, f"{base}/apps/blog/restart", "GET", headers=known).status == 200
        preflight = fetch(at, f"{base}/api/v1/requests", "OPTIONS", headers={**known, "Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in preflight.headers
    cross = {"Content-Type": "application/json", "Origin": "http://evil.example"}
    assert fetch(site.paths.api, "/api/v1/requests", "POST", '{"do":"restart","app":"blog"}', cross).status == 403
    assert site.pid("blog") == before
    assert "request" not in [kind for _, kind, _ in site.events("blog")]


def test_an_address_that_is_not_writable_changes_nothing(site: Site) -> None:
    site.app("blog")
    port, settings = settings_with(site)
    site.start("--settings", str(settings))
    site.await_settled("blog")
    told = _ask(port, {"do": "stop", "app": "blog"}, bearer())
    assert (told.status, "read-only" in told.body) == (403, True)
    base, session = open_session(port)
    page = fetch(port, f"{base}/apps/blog/stop", headers=session).body
    assert "form_token" not in page.partition("<main")[2]
    assert "/apps/blog/stop" not in fetch(port, f"{base}/apps/blog", headers=session).body
    assert site.settled("blog")


def test_a_token_that_is_too_short_opens_nothing_and_is_told(site: Site) -> None:
    site.app("blog")
    port, settings = settings_with(site)
    (site.root / "token").write_text("short\n")
    site.start("--settings", str(settings))
    site.await_settled("blog")
    with pytest.raises(ConnectionRefusedError):
        fetch(port, "/")
    assert any("at least 16" in text for _, _, text in site.events(""))
    assert fetch(site.paths.api, "/api/v1/apps").status == 200


def test_the_process_that_answers_comes_back_and_goes_with_the_daemon(host: tuple[Site, int]) -> None:
    site, port = host
    assert fetch(port, "/api/v1/apps", headers=bearer()).status == 200
    first = web_process(site)
    assert first
    os.kill(first, signal.SIGKILL)
    eventually(lambda: fetch(port, "/api/v1/apps", headers=bearer()).status == 200)
    second = eventually(lambda: web_process(site))
    assert second
    assert second != first
    site.end(site.daemons[0], signal.SIGKILL)
    eventually(lambda: is_gone(second))
    site.start("--settings", str(site.root / "host.yaml"))
    eventually(lambda: fetch(port, "/api/v1/apps", headers=bearer()).status == 200)
    assert (site.paths.api.stat().st_mode & 0o777, site.state.stat().st_mode & 0o777) == (0o600, 0o700)


def test_it_ends_when_nobody_comes_and_starts_when_somebody_does(site: Site) -> None:
    site.app("blog")
    site.live(api_idle_s=0.3)
    eventually(lambda: fetch(site.paths.api, "/api/v1/apps").status == 200)
    eventually(lambda: web_process(site) is None)
    for _ in range(3):
        assert fetch(site.paths.api, "/api/v1/apps").status == 200
    assert not [text for _, kind, text in site.events("") if "the process of the page" in text]


def test_clients_that_are_slow_or_many_leave_convergence_alone(host: tuple[Site, int]) -> None:
    site, port = host
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(1000)]
        # A client with a request takes the place of one without.
        assert fetch(port, "/api/v1/apps", headers=bearer()).status == 200
        slow = stack.enter_context(socket.socket(socket.AF_UNIX))
        slow.connect(str(site.paths.api))
        slow.send(b"GET / HTTP/1.1\r\nHost: loc")
        port_of_shop = site.app("shop", "1")
        eventually(site.serves("shop", "1", port_of_shop))
        assert get(port_of_shop) == "1"
        # Beyond a bound they are hung up on, and the socket has a bound of its own.
        eventually(lambda: sum(_is_closed(each) for each in idle) >= 700)
        assert fetch(site.paths.api, "/api/v1/apps").status == 200
        # Those that never ask are hung up on, too, and so is the slow one.
        eventually(lambda: _is_closed(slow) and all(_is_closed(each) for each in idle))
    assert fetch(port, "/api/v1/apps", headers=bearer()).status == 200


def test_a_thousand_idle_on_the_socket_take_nothing_from_the_daemon(host: tuple[Site, int]) -> None:
    site, _ = host
    descriptors = Path(f"/proc/{site.daemons[0].pid}/fd")
    assert fetch(site.paths.api, "/api/v1/apps").status == 200
    before = len(list(descriptors.iterdir()))
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(1000)]
        with reachable(site.paths.api) as short:
            for each in idle:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
                each.connect(short)  # waits while the backlog is full
        eventually(lambda: sum(_is_closed(each) for each in idle) >= 700)
        eventually(lambda: len(list(descriptors.iterdir())) < before + 20)
        port_of_shop = site.app("shop", "1")
        eventually(site.serves("shop", "1", port_of_shop))
    eventually(lambda: fetch(site.paths.api, "/api/v1/apps").status == 200)


def test_every_answer_binds_the_browser(shared: tuple[Site, int]) -> None:
    site, port = shared
    for at, path in ((site.paths.api, "/"), (port, "/login"), (site.paths.api, "/nowhere"), (port, "/api/v1/apps")):
        headers = fetch(at, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_schemathesis_finds_nothing(shared: tuple[Site, int]) -> None:
    import schemathesis

    _, port = shared
    document = fetch(port, "/api/v1/openapi.json", headers=bearer()).json
    schema = schemathesis.openapi.from_dict(document)
    tried = 0
    limits = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

    def check(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.call_and_validate(base_url=f"http://127.0.0.1:{port}", headers=bearer())

    for result in schema.get_all_operations():
        operation: Any = result
        limits(given(case=operation.ok().as_strategy())(check))()
    assert tried > 50


def _ask(at: Path | int, wanted: object, headers: dict[str, str] | None = None) -> Answer:
    sent = {"Content-Type": "application/json", **(headers or {})}
    return fetch(at, "/api/v1/requests", "POST", json.dumps(wanted), sent)


def _form(at: Path | int, path: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Answer:
    from urllib.parse import urlencode

    sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return fetch(at, path, "POST", urlencode(fields), sent)


def _raw(port: int, lines: list[str]) -> str:
    """What the server says to these very lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, connection.makefile("rb") as told:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return told.read().decode()


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
