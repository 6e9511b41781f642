"""The rows of the status: what the records, the instances and the manifests say of each app and service."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.inspection.asked_by_operators import OverrideInEffect
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.inspection.status import AppRow, HostStatus, ServiceRow, names_of, status
from reconciler.planning.address import Address
from reconciler.planning.apps.observed import Override
from reconciler.planning.canary.canary import Split
from reconciler.planning.reason import Reason
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus, Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from reconciler.web.openapi import document
from tests.world import an_app

APP = an_app()
REVISION = APP.revision("c1")
RUNNING = AppStatus(state="running", message="", wanted="abc", since=10.0, next_try_at=None)
# What the API adds to a row.
MEASURED = {"memory_bytes", "cpu", "requests_per_second", "queue", "queue_wait_seconds"}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with closing(open_database(StatePaths(state=tmp_path).database)) as database:
        yield Records(database)


def shown(path: Path, *only: str) -> HostStatus:
    with closing(HostSnapshot(StatePaths(state=path))) as snapshot:
        return status(snapshot, only)


def the_app(path: Path) -> AppRow:
    (row,) = shown(path).apps
    return row


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["components"]["schemas"][name]
    return found


def test_the_api_describes_every_field_of_a_row_and_no_other() -> None:
    described = schema("App")
    assert set(described["properties"]) - MEASURED == set(AppRow._fields)
    assert list(AppRow(name="blog", state="running").facts()) == list(AppRow._fields)
    assert list(ServiceRow(name="db").facts()) == list(ServiceRow._fields)


@pytest.mark.parametrize("override", [None, OverrideInEffect(kind="rolled back", revision="1a2b")])
def test_a_row_is_as_the_api_describes_it(override: OverrideInEffect | None) -> None:
    row = AppRow(name="blog", state="running", override=override, services=("db",)).facts()
    measured = dict.fromkeys(MEASURED)
    jsonschema.validate(json.loads(json.dumps({**row, **measured})), schema("App"))


def test_a_status_without_anything_is_json(tmp_path: Path, records: Records) -> None:
    assert shown(tmp_path).facts("1.0") == {
        "daemon": {"running": False, "pid": None, "version": "1.0"},
        "apps": [],
        "services": [],
        "manifests": [],
        "origins": [],
        "domains": [],
        "notice": None,
    }


def test_an_app_has_the_reason_that_was_reported(tmp_path: Path, records: Records) -> None:
    records.set_app_status("blog", replace(RUNNING, state="failing", reason=Reason.ACTION_FAILED))
    assert the_app(tmp_path).reason == "action-failed"


def test_one_app_alone_is_shown_without_services(tmp_path: Path, records: Records) -> None:
    for name in ("blog", "shop"):
        records.set_app_status(name, RUNNING)
    found = shown(tmp_path, "shop")
    assert [row.name for row in found.apps] == ["shop"]
    assert found.services == []


@pytest.mark.parametrize(
    ("reported", "override"),
    [
        (replace(RUNNING, state="stopped", reason=Reason.STOPPED_BY_OPERATOR), OverrideInEffect(kind="stopped")),
        (replace(RUNNING, state="stopped"), OverrideInEffect(kind="stopped")),
        (replace(RUNNING, state="stopped", reason=Reason.MANIFEST_STOPS), None),
        (RUNNING, None),
    ],
    ids=["in effect", "reported by an earlier version", "superseded by the manifest", "superseded"],
)
def test_a_stop_is_shown_while_it_is_in_effect(
    tmp_path: Path, records: Records, reported: AppStatus, override: OverrideInEffect | None
) -> None:
    RevisionHistory(records, "boot").set_override("blog", Override(kind="stopped", holds_for="x"))
    records.set_app_status("blog", reported)
    assert the_app(tmp_path).override == override


@pytest.mark.parametrize(
    ("reported", "is_in_effect"),
    [
        (replace(RUNNING, wanted=REVISION.id), True),
        (replace(RUNNING, wanted="with-new-credentials", reason=Reason.ROLLED_BACK_BY_OPERATOR), True),
        (replace(RUNNING, wanted="a-later-one"), False),
    ],
)
def test_a_rollback_is_shown_with_its_revision_while_it_is_in_effect(
    tmp_path: Path, records: Records, reported: AppStatus, is_in_effect: bool
) -> None:
    override = Override(kind="rolled back", holds_for="x", revision=REVISION)
    RevisionHistory(records, "boot").set_override("blog", override)
    records.set_app_status("blog", reported)
    expected = OverrideInEffect(kind="rolled back", revision=REVISION.id) if is_in_effect else None
    assert the_app(tmp_path).override == expected


def test_restarts_are_those_of_the_revision_that_serves(tmp_path: Path, records: Records) -> None:
    records.set_app_status("blog", RUNNING)
    history = RevisionHistory(records, "boot")
    history.exited("blog", "before")  # of an instance that an earlier version started
    assert not history.served("blog", "before")
    assert the_app(tmp_path).restarts == 1
    assert history.served("blog", "now")
    history.exited("blog", "before")
    assert the_app(tmp_path).restarts == 0
    again = RevisionHistory(records, "boot")
    again.exited("blog", "now")
    again.exited("blog", "now")
    assert not again.served("blog", "now")
    assert the_app(tmp_path).restarts == 2


@pytest.mark.parametrize("stored", ["null", '{"restarts": "many"}', "7"])
def test_restarts_that_another_version_recorded_are_none(tmp_path: Path, records: Records, stored: str) -> None:
    records.set_app_status("blog", RUNNING)
    records.set_history("blog", "restarts", stored)
    assert the_app(tmp_path).restarts == 0


@pytest.mark.parametrize("stored", ["null", '{"kind": "rolled back"}', "7"])
def test_an_override_that_another_version_recorded_is_left_out(tmp_path: Path, records: Records, stored: str) -> None:
    records.set_history("blog", "pin", stored)
    records.set_app_status("blog", RUNNING)
    assert the_app(tmp_path).override is None


def test_without_a_daemon_nothing_is_retried_and_what_crashed_stays_down(tmp_path: Path, records: Records) -> None:
    records.set_fact("manifests", json.dumps({"apps": {"blog": {"port": 1}, "shop": {"port": 2}}}))
    records.set_app_status("blog", RUNNING)
    records.set_app_status("shop", replace(RUNNING, state="failing", message="no database", next_try_at=99.0))
    blog, shop = shown(tmp_path).apps
    assert (blog.state, blog.message) == ("failing", "no instance is running, and no daemon is running to start one")
    assert (shop.message, shop.next_try_at) == ("no database; no daemon is running to retry it", None)


@pytest.mark.parametrize(
    ("state", "shown_state"), [("staging", "failing"), ("starting", "failing"), ("stopping", "stopped")]
)
def test_without_a_daemon_no_work_is_under_way(tmp_path: Path, records: Records, state: str, shown_state: str) -> None:
    records.set_fact("manifests", json.dumps({"apps": {"blog": {"port": 1}}}))
    records.set_app_status("blog", replace(RUNNING, state=state, message="copying the source"))
    blog = the_app(tmp_path)
    assert (blog.state, blog.reason) == (shown_state, "interrupted")
    assert blog.message == f"no daemon is running to continue; it ended while the app was {state}, copying the source"


def test_a_refused_file_without_an_earlier_version_is_an_invalid_app(tmp_path: Path, records: Records) -> None:
    errors = [{"line": 3, "column": 1, "path": "workers", "message": "expected a number"}]
    files = [
        {"file": "/m/blog.yaml", "errors": errors, "apps": []},
        {"file": "/m/shop.yaml", "errors": errors, "apps": ["shop"], "subjects": [["app", "shop"]]},
    ]
    records.set_fact("manifests", json.dumps({"apps": {"shop": {}}, "files": files}))
    row, in_effect = shown(tmp_path).apps[::-1]
    assert (row.name, row.state, row.message) == ("blog", "invalid", "line 3: workers: expected a number")
    assert row.reason == Reason.MANIFEST_REFUSED
    assert (in_effect.name, in_effect.state) == ("shop", "pending")


def test_a_refused_file_is_shown_as_the_apps_and_services_that_it_describes(tmp_path: Path, records: Records) -> None:
    errors = [{"line": 3, "column": 1, "path": "type", "message": "expected redis"}]
    files = [
        {"file": "/m/all.yaml", "errors": errors, "apps": ["shop"], "subjects": [
            ["app", "shop"], ["app", "blog"], ["service", "db"], ["service", "cache"],
        ]},
        {"file": "/m/blog.yaml", "errors": errors, "apps": [], "subjects": [["app", "blog"]]},
    ]  # fmt: skip
    records.set_fact("manifests", json.dumps({"apps": {"shop": {}}, "services": {"db": {}}, "files": files}))
    found = shown(tmp_path)
    assert [(row.name, row.state) for row in found.apps] == [("shop", "pending"), ("blog", "invalid")]
    assert [(row.name, row.state) for row in found.services] == [("db", "pending"), ("cache", "invalid")]
    assert (found.services[1].message, found.services[1].manifest) == ("line 3: type: expected redis", "/m/all.yaml")


def test_the_names_are_those_of_the_rows_a_refused_file_included(tmp_path: Path, records: Records) -> None:
    errors = [{"line": 3, "column": 1, "path": "workers", "message": "expected a number"}]
    records.set_fact("manifests", json.dumps({
        "apps": {"shop": {}}, "files": [{"file": "/m/blog.yaml", "errors": errors, "apps": []}],
    }))  # fmt: skip
    records.set_app_status("gone", RUNNING)
    with closing(HostSnapshot(StatePaths(state=tmp_path))) as snapshot:
        assert names_of(snapshot) == {"blog", "gone", "shop"} == {row.name for row in status(snapshot).apps}


def test_several_apps_are_shown_by_their_names(tmp_path: Path, records: Records) -> None:
    for name in ("blog", "shop", "wiki"):
        records.set_app_status(name, RUNNING)
    assert [row.name for row in shown(tmp_path, "wiki", "blog").apps] == ["blog", "wiki"]


def test_that_the_apps_keep_serving_is_said_only_while_one_does() -> None:
    serving, stopped = AppRow(name="blog", state="running", pid=7), AppRow(name="shop", state="stopped")
    assert HostStatus(daemon=1, apps=[serving]).without_daemon is None
    assert "the apps keep serving" in (HostStatus(apps=[serving, stopped]).without_daemon or "")
    assert "no app is serving" in (HostStatus(apps=[stopped]).without_daemon or "")


def test_a_canary_is_shown_with_the_part_of_new_connections_that_it_gets(tmp_path: Path, records: Records) -> None:
    split = Split(address=Address(host="127.0.0.1", port=8001), revision="next", weight=50, step=0)
    RevisionHistory(records, "boot").set_canary("blog", split)
    records.set_app_status("blog", replace(RUNNING, state="canary"))
    assert the_app(tmp_path).canary_share == 0.05
    records.set_app_status("blog", RUNNING)
    assert the_app(tmp_path).canary_share is None


@pytest.mark.parametrize("stored", ["null", '{"canary": null}', "7", '{"canary": {"weight": 0}}'])
def test_a_canary_without_connections_has_no_part(tmp_path: Path, records: Records, stored: str) -> None:
    records.set_app_status("blog", replace(RUNNING, state="canary"))
    records.set_history("blog", "canary", stored)
    assert the_app(tmp_path).canary_share is None
