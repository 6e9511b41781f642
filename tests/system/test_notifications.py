"""What people hear of a real daemon's apps: once, however often it is killed, and without what is secret."""

import contextlib
import json
import signal
from typing import Any

import pytest

from reconciler.notifications.targets.webhook import Webhook
from reconciler.state.schema import open_database
from tests.fakes.post_office import Hook, webhook
from tests.support.eventually import at_leisure, eventually
from tests.support.site import Site

PROMPT: dict[str, Any] = {"notify_delay_s": 0.0, "notify_every_s": 0.0}
BROKEN = """\
import json, os

def application(environ, start_response):
    raise RuntimeError({why})
"""
SERVICE = """\
kind: service
name: db
type: user-provided
credentials: {host: db, password: hunter2-of-a-service}
"""
# Everything an app knows that nobody else should, in one error.
INDISCREET = (
    "' '.join(['cannot reach https://u:hunter2-in-a-url@db/ as info with', os.environ['BACKEND'], os.environ['TOKEN'],"
    " os.environ['MY_SECRET'], json.loads(os.environ['VCAP_SERVICES'])['user-provided'][0]['credentials']['password']])"
)


def told(hook: Hook) -> list[str]:
    """How the app stood in each message that was taken."""
    return [item["state"] for message in hook.taken for item in message["items"] if item["app"] == "blog"]


def broken(site: Site, why: str) -> None:
    site.save(site.root / "apps/blog/wsgi.py", BROKEN.format(why=why))


def written(site: Site) -> list[dict[str, str]]:
    """What each target is on record to know."""
    with contextlib.closing(open_database(site.paths.database, read_only=True)) as database:
        rows = database.execute("SELECT value FROM fact WHERE name LIKE 'told %'").fetchall()
    return [json.loads(value) for (value,) in rows]


def in_time() -> str:
    """A start timeout that is short, and in which a good release is ready on a busy host, too."""
    return f"{round(at_leisure(4.0))}s"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_trouble_and_its_end_are_told_once_each_though_the_daemon_is_killed_in_between(site: Site) -> None:
    port = site.app("blog", probation="0s", health={"path": "/", "start_timeout": in_time()})
    with webhook() as hook, webhook() as hanging:
        hanging.manner = "silent"
        targets: dict[str, Any] = {"notifications": (Webhook(url=hanging.url), Webhook(url=hook.url)), **PROMPT}
        daemon = site.live(**targets)
        eventually(site.serves("blog", "1", port))
        broken(site, "1")
        eventually(lambda: told(hook) == ["degraded"])
        eventually(lambda: {"app/blog": "degraded"} in written(site))

        site.end(daemon, signal.SIGKILL)
        hook.answers = [503] * 1000
        daemon = site.live(**targets)
        site.source("blog", "2")
        eventually(site.serves("blog", "2", port))
        eventually(lambda: [item["state"] for item in hook.got[-1]["items"]] == ["healthy"])

        site.end(daemon, signal.SIGKILL)
        hook.answers = []
        site.live(**targets)
        eventually(lambda: "healthy" in told(hook))
        assert told(hook) == ["degraded", "healthy"]
        eventually(lambda: hanging.got)


def test_what_an_app_says_of_its_secrets_is_masked(site: Site) -> None:
    site.save(site.root / "backend", "hunter2-in-a-file\n")
    site.save(site.root / "many", "LOG_LEVEL=info\nTOKEN=hunter2-among-many\n")
    site.save(site.manifests / "db.yaml", SERVICE)
    fields: dict[str, Any] = {"BACKEND": {"file": "../backend"}, "MY_SECRET": "hunter2-in-the-manifest"}
    site.app(
        "blog", health={"path": "/", "start_timeout": in_time()}, services=["db"], env_files=["../many"], env=fields
    )
    broken(site, INDISCREET)
    with webhook() as hook:
        site.live(notifications=(Webhook(url=hook.url),), **PROMPT)
        eventually(lambda: told(hook))
    said, *_ = (item["message"] for message in hook.taken for item in message["items"] if item["app"] == "blog")
    assert "cannot reach https://•••@db/ as info with ••• ••• ••• •••" in said
