"""What differs between what runs and what should: in a manifest's words, and no secret in it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.host.revision_differences import changes, difference
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs, Override
from reconciler.planning.apps.revision import Bound, Health, Recipe, Revision, Server
from tests.world import CONTENTS, address_of, an_app, apps, serving


def told(before: Revision, after: Revision) -> list[str]:
    return [str(change) for change in changes(before, after)]


def test_each_field_is_told_by_its_name_in_the_manifest() -> None:
    app = an_app(server=Server(settings={"max_requests": 1000}), env={"LOG_LEVEL": "info", "GONE": "x"})
    after = replace(
        app,
        recipe=Recipe(runtime="python3.12", extras=("web",)),
        address=Address(host="127.0.0.1", port=9),
        server=Server(workers=3, health=Health(path="/up"), stop_timeout_s=5.0, settings={"max_requests": 9}),
        env={"LOG_LEVEL": "debug", "NEW": "y"},
        release="make it so",
    )
    assert told(app.revision("c1"), after.revision("c2")) == [
        "env.GONE: x → not set",
        "env.LOG_LEVEL: info → debug",
        "env.NEW: not set → y",
        'extras: not set → ["web"]',
        "gunicorn.max_requests: 1000 → 9",
        "health.path: not set → /up",
        "health.timeout: not set → 2.0",
        f"port: {address_of(app).port} → 9",
        "release: not set → make it so",
        "runtime: not set → python3.12",
        "source: c1 → c2",
        "stop_timeout: 30.0 → 5.0",
    ]


def test_of_a_source_the_beginning_of_its_digest_is_told() -> None:
    app = an_app()
    assert told(app.revision("a" * 64), app.revision("b" * 64)) == [f"source: {'a' * 12} → {'b' * 12}"]


def test_a_secret_that_changed_is_told_as_that_and_never_shown() -> None:
    one = an_app(env={"API_KEY": "hunter2", "DB": "postgres://me:hunter2@db/x"}).revision(
        "c", (), {"STRIPE": "hunter2"}
    )
    other = an_app(env={"API_KEY": "hunter3", "DB": "postgres://me:hunter3@db/x"}).revision(
        "c", (), {"STRIPE": "hunter3"}
    )
    assert told(one, other) == [
        "env.API_KEY: ••• → •••",
        "env.DB: ••• → •••",
        "env.STRIPE: ••• → •••",
    ]


def test_services_that_come_go_or_get_new_credentials_are_told() -> None:
    db = Bound(service="db", type="mysql", label="mysql", plan="free", instance="i1", grant="g1", credentials="k1")
    app = an_app()
    before, after = app.revision("c", (db,)), app.revision("c", (replace(db, grant="g2", credentials="k2"),))
    assert told(before, after) == ["services.db.grant: g1 k1 → g2 k2"]
    assert "services.db.type: mysql → not set" in told(before, app.revision("c"))


@given(apps, apps, st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_two_revisions_are_one_just_when_no_field_differs(one: App, other: App, before: str, after: str) -> None:
    earlier, later = one.revision(before), replace(other, name=one.name).revision(after)
    assert (earlier.id == later.id) == (changes(earlier, later) == ())


def test_what_is_asked_is_compared_with_what_serves() -> None:
    app = an_app()
    found = difference(replace(app, env={"A": "1"}), serving(app), replace(app, env={"A": "1"}).revision("c1").id)
    assert found is not None
    assert (found.before, found.serves) == (app.revision("c1").id, True)
    assert [str(change) for change in found.changes] == ["env.A: not set → 1"]


def test_where_nothing_serves_it_is_compared_with_what_served_last() -> None:
    app, edited = an_app(), an_app(env={"A": "1"})
    found = difference(edited, serving(app, instances=()), edited.revision("c1").id)
    assert found is not None
    assert (found.before, found.serves) == (app.revision("c1").id, False)


@pytest.mark.parametrize("unknown", ["nothing", "not proven", "removed", "services missing", "as asked"])
def test_without_two_known_revisions_there_is_nothing_to_compare(unknown: str) -> None:
    app, edited = an_app(), an_app(env={"A": "1"})
    asked, observed, wanted = edited, serving(app), edited.revision("c1").id
    match unknown:
        case "nothing":
            observed = replace(observed, instances=(), known_good=())
        case "not proven":
            observed = replace(observed, known_good=())
        case "removed":
            assert difference(None, observed, None) is None
            return
        case "services missing":
            observed = replace(observed, inputs=ExternalInputs(missing=("service db: no server",)))
        case _:
            asked, wanted = app, app.revision("c1").id
    assert difference(asked, observed, wanted) is None


def test_a_rollback_is_compared_as_any_other_change() -> None:
    app, earlier = an_app(), an_app(env={"A": "1"}).revision("c1")
    override = Override(kind="rolled back", holds_for=app.revision("c1").id, revision=earlier)
    found = difference(app, serving(app, override=override), earlier.id)
    assert found is not None
    assert [str(change) for change in found.changes] == ["env.A: not set → 1"]
