"""Every page renders, from a state directory alone and without a daemon."""

import asyncio
import json
import re
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from reconciler.planning.reason import Reason
from reconciler.planning.services.service import Service
from reconciler.planning.states import APP_STATES
from reconciler.planning.subject import Subject
from reconciler.routing.domain_rows import DomainRow
from reconciler.services.backup_files import Verification, backups_in, new_backup, record_verification
from reconciler.services.records import ServiceRecords
from reconciler.settings.settings import Api, Settings
from reconciler.staging.differences import mark_copied
from reconciler.staging.staged import Staged, boot_id, write
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus, Records
from reconciler.state.release_log import ReleaseRecord
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from reconciler.vault.secret import HIDDEN
from reconciler.vault.vault import Vault
from reconciler.web.app import application
from reconciler.web.connection import Transport
from tests.world import an_app

FAILED_START = """\
Traceback (most recent call last):
RuntimeError: no database
reconciler: not ready: RuntimeError: no database
"""
HOSTILE = "<img src=x onerror=alert(1)> \x1b[31m \u202e the transaction has been rolled back by hand"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A host on which one app fails."""
    paths = StatePaths(state=tmp_path / "state")
    paths.state.mkdir()
    database = open_database(paths.database)
    Records(database).set_app_status(
        "shop", AppStatus(state="failing", message=HOSTILE, wanted="1a2b", since=1.0, next_try_at=None)
    )
    journal = Journal(database)
    journal.write(Subject("app", "shop"), "failed", HOSTILE, HOSTILE, Reason.ACTION_FAILED)
    journal.write(Subject("service", "shop-db"), "provisioned", "made")
    Records(database).set_app_status(
        "blog", AppStatus(state="running", message="", wanted="3c4d", since=1.0, next_try_at=None)
    )
    database.close()
    return Settings(manifests=tmp_path / "manifests", paths=paths)


def fetch(settings: Settings, path: str, transport: Transport = "unix", *, client: str = "127.0.0.1") -> httpx.Response:
    app = application(settings)

    async def connected(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await app({**scope, "state": {"transport": transport, "peer": "root"}}, receive, send)

    async def story() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=connected, client=(client, 1)), base_url="http://localhost"
        ) as opened:
            return await opened.get(path)

    return asyncio.run(story())


def _sent(settings: Settings, path: str) -> list[str]:
    """The body of an answer, as it is sent piece by piece."""
    pieces: list[str] = []
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "state": {"transport": "unix", "peer": "root"},
    }  # fmt: skip

    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if body := message.get("body"):
            pieces.append(body.decode())

    asyncio.run(application(settings)(scope, receive, send))  # type: ignore[arg-type]
    return pieces


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "no daemon is running: the apps are not supervised"),
        ("/?q=nothing", 200, "No app matches."),
        ("/?sort=-memory", 200, 'aria-sort="descending"'),
        ("/events", 200, 'aria-current="true">important'),
        ("/events?show=all", 200, 'aria-current="true">all'),
        ("/services", 200, "There are no services."),
        ("/services/none", 404, "there is no service with that name on this host"),
        ("/host", 200, "<code>logs.limit</code>"),
        ("/apps/shop/environment", 200, "describes an app named &#39;shop&#39;"),
        ("/apps/shop", 200, "Show the plan"),
        ("/apps/shop/restart", 200, "Restart"),
        ("/apps/shop/plan", 200, "Plan"),
        ("/apps/none", 404, "there is no app with that name on this host"),
        ("/apps/shop/destroy", 404, "there is nothing at this path"),
        ("/login", 200, "api.token"),
    ],
)
def test_a_page_renders_and_what_apps_say_stays_text(settings: Settings, path: str, status: int, text: str) -> None:
    answer = fetch(settings, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert text in answer.text
    assert "<img" not in answer.text
    assert not set("\x1b\u202e") & set(answer.text)


def test_events_name_the_app_or_the_service_they_are_about(settings: Settings) -> None:
    page = fetch(settings, "/").text
    assert '<span class="subject"><a href="/services/shop-db"><bdi>service shop-db</bdi></a></span>' in page
    assert '<span class="subject"><a href="/apps/shop"><bdi>shop</bdi></a></span>' in page


def test_the_buttons_follow_the_state_and_no_message(settings: Settings) -> None:
    page = fetch(settings, "/apps/shop").text
    assert 'href="/apps/shop/forget-failure"' in page
    assert 'href="/apps/shop/start"' not in page
    assert 'class="k-failure"' in page
    assert 'class="k-rollback"' not in page


def test_the_counts_have_a_place_for_every_state_so_that_the_script_can_show_one_that_occurs_later(
    settings: Settings,
) -> None:
    page = fetch(settings, "/").text
    counted = dict(re.findall(r'data-count="([a-z]+)"( hidden)?>', page))
    assert list(counted) == [state.name for state in APP_STATES]
    assert [state for state, hidden in counted.items() if not hidden] == ["failing", "running"]


def test_apps_in_trouble_come_first(settings: Settings) -> None:
    page = fetch(settings, "/").text
    assert re.findall(r'<tr data-app="([a-z]+)" data-rank', page)[:2] == ["shop", "blog"]
    assert "<b data-all>2</b> all" in page


def test_the_top_is_sent_before_the_host_is_looked_at_and_the_first_rows_of_many_before_the_rest_is_rendered(
    settings: Settings,
) -> None:
    with closing(open_database(settings.paths.database)) as database:
        for number in range(300):
            status = AppStatus(state="running", message="", wanted="3c4d", since=1.0, next_try_at=None)
            Records(database).set_app_status(f"app-{number}", status)
    top, *pieces = _sent(settings, "/")
    assert "page.css" in top
    assert top.partition('<header class="top">')[2].count("reconciler</a>") == 1
    assert "</header>" not in top
    found = [re.findall(r'<tr data-app="([a-z]+)', piece) for piece in pieces]
    assert len(found) > 2
    assert found[0][:2] == ["shop", "app"]
    assert 15 < len(found[0]) < 60
    assert sum(map(len, found)) == 302
    assert "".join((top, *pieces)) == fetch(settings, "/").text


def test_a_state_that_cannot_be_read_is_told_also_once_the_top_of_the_page_is_sent(settings: Settings) -> None:
    with closing(open_database(settings.paths.database)) as database:
        database.execute("DROP TABLE standing")
    answer = fetch(settings, "/")
    assert (answer.status_code, answer.text.count("<html"), answer.text.count("<body")) == (200, 1, 1)
    assert f"cannot read {settings.paths.state}" in answer.text
    settings.paths.database.write_text("no database")
    answer = fetch(settings, "/")
    assert answer.status_code == 503
    assert f"cannot read {settings.paths.state}" in answer.text


def test_an_event_leads_to_the_page_of_its_app(settings: Settings) -> None:
    assert '<a href="/apps/shop"><bdi>shop</bdi></a>' in fetch(settings, "/").text


def test_what_takes_an_app_out_of_service_looks_like_it(settings: Settings) -> None:
    page = fetch(settings, "/apps/blog").text
    assert '<a class="button danger" href="/apps/blog/stop">' in page
    assert '<a class="button" href="/apps/blog/restart">' in page
    assert '<button class="button danger">Stop</button>' in fetch(settings, "/apps/blog/stop").text
    assert '<h1 id="dialog-title">Begin maintenance of <bdi>blog</bdi>?</h1>' in (
        fetch(settings, "/apps/blog/maintenance").text
    )


def test_a_rollback_names_the_revision_that_it_goes_back_to_and_asks_for_that_one(settings: Settings) -> None:
    page = fetch(settings, "/apps/blog/rollback").text
    assert "No earlier revision is known good and still on disk." in page
    assert "form_token" not in page
    revision = an_app().revision("c")
    with closing(open_database(settings.paths.database)) as database:
        RevisionHistory(Records(database), "boot").mark_good("blog", revision)
    build = settings.paths.builds("blog") / revision.build.id
    build.mkdir(parents=True)
    staged = Staged(
        directory=str(build), code=str(build), environment="", python="", python_version="3.12.0",
        gunicorn_version="23.0", entrypoint="wsgi:application", interface="wsgi", worker_class="sync",
    )  # fmt: skip
    write(staged, build, boot_id())
    page = fetch(settings, "/apps/blog/rollback").text
    assert f"It goes back to revision <code>{revision.id}</code>." in page
    assert f'<input type="hidden" name="revision" value="{revision.id}">' in page


def test_only_a_client_of_this_host_is_told_which_file_holds_the_token(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-these-tests")
    settings = replace(settings, api=Api(host="127.0.0.1", port=1, token=tmp_path / "token"))
    assert str(tmp_path / "token") in fetch(settings, "/login", "tcp").text
    assert str(tmp_path / "token") not in fetch(settings, "/login", "tcp", client="192.0.2.1").text


def test_a_log_on_the_page_and_in_the_api_hides_what_the_app_was_given(settings: Settings) -> None:
    with closing(open_database(settings.paths.database)) as database:
        vault = Vault(database, settings.key)
        kept = json.dumps({"SHOPPING": vault.put("swordfish")})
        database.execute("INSERT INTO env_file VALUES ('shop', '/secrets/shop.env', ?)", (kept,))
        manifest = settings.manifests / "shop.yaml"
        manifest.parent.mkdir()
        manifest.write_text("path: x\nenv: {COOKIE: m0nster-11, LOG_LEVEL: info}\n")
        facts = {"apps": {"shop": {"manifest": str(manifest)}}, "files": []}
        Records(database).set_fact("manifests", json.dumps(facts))
    log = settings.paths.log("shop", "app")
    log.parent.mkdir(parents=True)
    log.write_text("info: it opens with swordfish or m0nster-11, not with catfish\n")
    shown = f"info: it opens with {HIDDEN} or {HIDDEN}, not with catfish"
    assert shown in fetch(settings, "/apps/shop").text
    assert fetch(settings, "/api/v1/logs/shop").json() == {"lines": [shown]}


def test_an_empty_host_says_how_to_add_an_app(tmp_path: Path) -> None:
    paths = StatePaths(state=tmp_path)
    open_database(paths.database).close()
    page = fetch(Settings(manifests=tmp_path, paths=paths), "/").text
    assert "There are no apps yet." in page
    assert "There are no services." in page


def test_what_is_not_for_people_fails_as_a_problem(settings: Settings) -> None:
    answer = fetch(settings, "/api/v1/apps/none")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def _write_log(settings: Settings, text: str) -> None:
    log = settings.paths.log("shop", "app")
    log.parent.mkdir(parents=True)
    log.write_text(text)


def test_a_log_fills_a_page_of_its_own_that_leads_to_older_lines_and_finds_text(settings: Settings) -> None:
    _write_log(settings, "".join(f"{'needle' if number == 3 else 'line'} {number}\n" for number in range(1000)))
    newest = fetch(settings, "/apps/shop/logs").text
    assert "<bdi>line 999</bdi>" in newest
    assert "<bdi>line 499</bdi>" not in newest
    (older,) = re.findall(r'rel="prev" href="([^"]*)"', newest)
    older = fetch(settings, f"/apps/shop/logs{older}".replace("&amp;", "&")).text
    assert "<bdi>line 499</bdi>" in older
    assert 'rel="prev"' not in older
    assert 'data-from=""' in older  # what is older is not followed
    found = fetch(settings, "/apps/shop/logs?q=NEEDLE").text
    assert "1 line with <bdi>NEEDLE</bdi> in the whole log" in found
    assert "<bdi>needle 3</bdi>" in found
    assert "No line holds it." in fetch(settings, "/apps/shop/logs?q=swordfish").text


def test_the_page_of_a_log_folds_failed_starts_and_leads_to_all_lines(settings: Settings) -> None:
    _write_log(settings, FAILED_START)
    page = fetch(settings, "/apps/shop/logs").text
    assert "<bdi>RuntimeError: no database  [3 lines folded]</bdi>" in page
    assert "Traceback" not in page
    assert 'lines=500&amp;show=folded"' in page  # what follows is folded in the same way
    (written,) = re.findall('href="([^"]*)">As it was written', page)
    page = fetch(settings, f"/apps/shop/logs{written}".replace("&amp;", "&")).text
    assert "Traceback" in page
    assert 'lines=500&amp;show=written"' in page
    assert "Failed starts folded" in page
    assert "Traceback" in fetch(settings, "/apps/shop/logs?q=trace").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/apps/none/logs", 404),
        ("/apps/shop/logs?show=other", 400),
        ("/apps/shop/logs?which=other", 400),
        ("/apps/shop/logs?before=-1", 400),
        ("/apps/shop/releases/1a2b", 404),
    ],
)
def test_a_log_or_a_release_that_does_not_exist_is_told(settings: Settings, path: str, status: int) -> None:
    answer = fetch(settings, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")


def test_a_release_tells_how_long_it_served_and_shows_the_lines_of_its_source_without_secrets(
    settings: Settings,
) -> None:
    code = {"before": "one\n", "after": "two\nKEY = 'postgresql://shop:m0nster-11@db/shop'\n"}
    for build, text in code.items():
        place = settings.paths.builds("blog") / build
        (place / "code").mkdir(parents=True)
        (place / "code" / "app.py").write_text(text)
        mark_copied(place)
    with closing(open_database(settings.paths.database)) as database:
        log = Records(database).release_log
        log.put("blog", ReleaseRecord(number=1, revision="aa", build="before", at=10.0, reason="", initiator="manifest",
                                      served_at=20.0, served_until=100.0))  # fmt: skip
        log.put("blog", ReleaseRecord(number=2, revision="bb", build="after", at=90.0, reason="", initiator="source",
                                      previous="aa", previous_build="before", served_at=100.0))  # fmt: skip
    page = fetch(settings, "/apps/blog").text
    assert "served 1m20s, until" in page
    assert 'href="/apps/blog/releases/bb">Show lines' in page
    page = fetch(settings, "/apps/blog/releases/bb").text
    assert '<bdi class="d-minus">-one</bdi>' in page
    assert '<bdi class="d-plus">+two</bdi>' in page
    assert "m0nster-11" not in page


def test_a_service_has_a_page_with_its_apps_its_manifest_without_secrets_and_its_events(settings: Settings) -> None:
    manifest = settings.manifests / "shop-db.yaml"
    manifest.parent.mkdir()
    manifest.write_text("kind: service\ntype: user-provided\ncredentials: {password: m0nster-11}\n")
    with closing(open_database(settings.paths.database)) as database:
        desired = {"shop-db": {"type": "user-provided", "plan": "free", "manifest": str(manifest)}}
        Records(database).set_fact("manifests", json.dumps({"apps": {}, "services": desired, "files": []}))
    page = fetch(settings, "/services/shop-db").text
    assert "<h1><bdi>shop-db</bdi></h1>" in page
    assert "No app holds credentials of it." in page
    assert "type: user-provided" in page
    assert "m0nster-11" not in page
    assert '<span class="kind">provisioned</span>' in page
    assert '<a href="/services/shop-db"><bdi>shop-db</bdi></a>' in fetch(settings, "/services").text
    assert 'href="/services" aria-current="page"' in fetch(settings, "/services").text


def test_the_page_of_a_service_lists_its_backups_and_offers_one_more(settings: Settings) -> None:
    with closing(open_database(settings.paths.database)) as database:
        records = ServiceRecords(database, Vault(database, settings.key))
        record = records.register(Service(name="shop-db", manifest="", type="sqlite"), None, None, 0.0)
        records.register(Service(name="queue", manifest="", type="rabbitmq"), "mq", None, 0.0)
        records.note(record.id, made="made")
        Records(database).set_fact("manifests", json.dumps({"apps": {}, "services": {}, "files": []}))
    page = fetch(settings, "/services/shop-db").text
    assert "There are no backups yet." in page
    backups = settings.paths.backups
    backups.mkdir()
    for at, by in ((1_700_000_000, "operator"), (1_700_000_500, "schedule"), (1_700_001_000, "schedule")):
        new_backup(backups, record, at, by).write_bytes(b"x" * 2**21)  # type: ignore[arg-type]
    newest, bad, _ = backups_in(backups)
    record_verification(newest.path, Verification(at=1_700_002_000, counted={"tables": 3, "rows": 40}))
    record_verification(bad.path, Verification(at=1_700_002_000, counted={}, failure=HOSTILE))
    page = fetch(settings, "/services/shop-db").text
    assert '<a class="button" href="/services/shop-db/backup">Back up now</a>' in page
    assert '<td>schedule</td><td class="n">2.0 MB</td>' in page
    assert "3 tables, 40 rows" in page
    assert '<strong class="error">failed</strong>' in page
    assert '<span class="sub">not yet</span>' in page
    assert "<img" not in page
    assert '<button class="button strong">Back up now</button>' in fetch(settings, "/services/shop-db/backup").text
    assert fetch(settings, "/services/shop-db/remove").status_code == 404
    page = fetch(settings, "/services/queue").text
    assert "cannot be backed up: RabbitMQ does not export messages" in page
    assert "Back up now" not in page


def test_the_host_page_says_which_settings_are_not_the_defaults(settings: Settings) -> None:
    page = fetch(replace(settings, log_limit_bytes=3 * 2**20, retention_s=90.0), "/host").text
    assert "<code>logs.limit</code></th><td><strong>3M</strong></td>" in page
    assert "<code>staging.retention</code></th><td><strong>90s</strong></td>" in page
    assert "<code>rescan</code></th><td>60s</td>" in page
    settings.manifests.mkdir()
    assert "Disk of state and manifests" in fetch(settings, "/host").text
    assert str(settings.paths.state) in page


def test_the_page_of_an_app_has_its_domains_as_links_with_their_certificates_and_what_is_wrong(
    settings: Settings,
) -> None:
    day = 86400.0
    now = time.time()  # noqa: TID251  a certificate's times are those of the wall clock
    rows = (
        DomainRow(
            name="shop.example.com", app="shop", below="/api", state="expiring", url="https://shop.example.com",
            message=f"has a certificate that {HOSTILE}", issuer="CN=R11", ends_at=now + 9.5 * day,
        ),
        DomainRow(
            name="www.example.com", app="shop", below="/", state="unserved", url="https://www.example.com",
            leads_to="https://shop.example.com", message="has no certificate yet",
        ),
        DomainRow(name="plain.example.com", app="shop", below="/", state="served", url="http://plain.example.com"),
        DomainRow(name="other.example.com", app="blog", below="/", state="served", url="https://other.example.com"),
    )  # fmt: skip
    settings.paths.proxy.mkdir()
    settings.paths.domains.write_text(json.dumps([row._asdict() for row in rows]))
    page = fetch(settings, "/apps/shop").text
    assert 'href="https://shop.example.com/api"' in page
    assert "expires in 9d" in page
    assert "CN=R11" in page
    assert '<span class="state s-failing">' in page
    assert "has no certificate yet" in page
    assert "leads to <bdi>https://shop.example.com</bdi>" in page
    assert "without TLS" in page
    assert "other.example.com" not in page
    assert "<img" not in page
    assert "other.example.com" in fetch(settings, "/apps/blog").text
    settings.paths.domains.unlink()
    assert "Domains</h2>" not in fetch(settings, "/apps/shop").text
