"""Every page renders, from a state directory alone and without a daemon."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from reconciler.planning.reason import Reason
from reconciler.planning.states import APP_STATES
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus, Records
from reconciler.state.schema import open_database
from reconciler.web.app import application
from reconciler.web.connection import Transport

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
    database.close()
    return Settings(manifests=tmp_path / "manifests", paths=paths)


def fetch(settings: Settings, path: str, transport: Transport = "unix") -> httpx.Response:
    app = application(settings)

    async def connected(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await app({**scope, "state": {"transport": transport, "peer": "root"}}, receive, send)

    async def story() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=connected), base_url="http://localhost"
        ) as client:
            return await client.get(path)

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "no daemon is running: the apps are not supervised"),
        ("/?q=nothing", 200, "No app matches."),
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
    assert '<span class="subject"><bdi>service shop-db</bdi></span>' in page
    assert '<span class="subject"><bdi>shop</bdi></span>' in page


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
    assert [state for state, hidden in counted.items() if not hidden] == ["failing"]


def test_an_empty_host_says_how_to_add_an_app(tmp_path: Path) -> None:
    paths = StatePaths(state=tmp_path)
    open_database(paths.database).close()
    page = fetch(Settings(manifests=tmp_path, paths=paths), "/").text
    assert "There are no apps yet." in page
    assert "There are no services." in page


def test_what_is_not_for_people_fails_as_a_problem(settings: Settings) -> None:
    answer = fetch(settings, "/api/v1/apps/none")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
