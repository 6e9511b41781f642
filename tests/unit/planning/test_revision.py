"""What makes two builds, or two revisions, different ones."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.address import Address
from reconciler.planning.apps.app import App, CrashPolicy, Liveness
from reconciler.planning.apps.code_commands import CodeCommands
from reconciler.planning.apps.revision import Bound, Health, Recipe, Server, Source, revision_from
from reconciler.planning.fingerprint import canonical, fingerprint
from tests.world import an_app, release_id

APP = an_app()


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(replace(APP, source=Source(path="/apps/moved")), id="path"),
        pytest.param(replace(APP, source=Source(path="/apps/blog", pinned="d1")), id="pinned"),
        pytest.param(replace(APP, recipe=Recipe(runtime="3.12")), id="runtime"),
        pytest.param(replace(APP, recipe=Recipe(entrypoint="wsgi:app")), id="entrypoint"),
        pytest.param(replace(APP, recipe=Recipe(dependencies="requirements.txt")), id="dependencies"),
    ],
)
def test_another_way_to_build_is_another_build_and_another_revision(edited: App) -> None:
    assert edited.build("c1").id != APP.build("c1").id
    assert edited.revision("c1").id != APP.revision("c1").id


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(replace(APP, address=Address(host="127.0.0.1", port=8002)), id="port"),
        pytest.param(replace(APP, address=Address(host="0.0.0.0", port=8001)), id="host"),
        pytest.param(replace(APP, server=Server(threads=2)), id="threads"),
        pytest.param(replace(APP, server=Server(worker_class="gthread")), id="worker_class"),
        pytest.param(replace(APP, server=Server(settings={"max_requests": 1000})), id="gunicorn"),
        pytest.param(replace(APP, server=Server(stop_timeout_s=5.0)), id="stop_timeout"),
        pytest.param(replace(APP, env={"LOG_LEVEL": "info"}), id="env"),
    ],
)
def test_another_configuration_is_another_revision_of_the_same_build(edited: App) -> None:
    assert edited.build("c1").id == APP.build("c1").id
    assert edited.revision("c1").id != APP.revision("c1").id


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(replace(APP, manifest="renamed.yaml"), id="manifest"),
        pytest.param(replace(APP, server=Server(workers=2)), id="workers"),
        pytest.param(replace(APP, state="stopped"), id="state"),
        pytest.param(replace(APP, crash=CrashPolicy(cap_s=5.0)), id="crash policy"),
        pytest.param(replace(APP, liveness=Liveness(failures=9)), id="liveness"),
        pytest.param(replace(APP, probation_s=60.0), id="probation"),
        pytest.param(replace(APP, idle_after_s=60.0), id="idle_after"),
        pytest.param(replace(APP, lazy=True), id="lazy"),
        pytest.param(replace(APP, depends_on=("api",)), id="depends_on"),
        pytest.param(replace(APP, patience_s=60.0), id="patience"),
        pytest.param(replace(APP, holding_page="/apps/503.html"), id="holding_page"),
    ],
)
def test_what_does_not_reach_the_instance_does_not_replace_it(edited: App) -> None:
    assert edited.revision("c1").id == APP.revision("c1").id


@pytest.mark.parametrize(
    ("edited", "again"),
    [
        pytest.param({"env": {"A": "1"}}, True, id="env"),
        pytest.param({"release": "migrate --all"}, True, id="release"),
        pytest.param({"recipe": Recipe(runtime="3.12")}, True, id="runtime"),
        pytest.param({"server": Server(workers=2)}, False, id="workers"),
        pytest.param({"address": Address(host="127.0.0.1", port=8002)}, False, id="port"),
    ],
)
def test_a_release_command_is_one_for_one_build_and_environment(edited: dict[str, Any], again: bool) -> None:
    migrating = replace(APP, release="migrate")
    assert (release_id(replace(migrating, **edited).revision("c1")) != release_id(migrating.revision("c1"))) == again
    assert release_id(APP.revision("c1")) is None


@pytest.mark.parametrize(
    ("release", "code", "steps"),
    [
        (None, CodeCommands(), ()),
        (None, CodeCommands(release="r"), ("r",)),
        (None, CodeCommands(collect="m.py collectstatic", release="r"), ("m.py collectstatic", "r")),
        ("own", CodeCommands(release="r"), ("own",)),
        ("own", CodeCommands(collect="m.py collectstatic", release="r"), ("m.py collectstatic", "own")),
        ("own && ./m.py collectstatic", CodeCommands(collect="m.py collectstatic"), ("own && ./m.py collectstatic",)),
        (None, CodeCommands(collect="m.py collectstatic", release="x collectstatic"), ("x collectstatic",)),
    ],
)
def test_a_release_consists_of_what_the_manifest_and_the_code_ask_for(
    release: str | None, code: CodeCommands, steps: tuple[str, ...]
) -> None:
    revision = replace(APP, release=release).revision("c1")
    assert tuple(step.command for step in revision.release_steps(code)) == steps
    assert (revision.release_mark(code) is None) == (not steps)
    assert (revision.release_mark(code) == release_id(revision)) == (steps in {(), (release,)})


def test_a_revision_survives_being_written_down() -> None:
    server = Server(workers=3, settings={"max_requests": 10}, health=Health(path="/healthz"), counts=True)
    recipe = Recipe(runtime="3.12", extras=("web",), groups=("prod",))
    revision = replace(APP, server=server, recipe=recipe, env={"A": "1"}, release="migrate").revision("c1")
    for one in (revision, APP.revision("c1")):
        back = revision_from(json.loads(json.dumps(asdict(one))))
        assert (back, back.id, back.build.id) == (one, one.id, one.build.id)


def test_a_field_that_is_as_it_is_by_default_changes_no_fingerprint() -> None:
    """So that a later version, which has more of them, restarts nothing."""
    assert canonical(Server()) == {}
    assert canonical(Server(workers=2)) == {"workers": 2}


def test_any_edit_of_a_manifest_changes_the_fingerprint_of_what_it_asks() -> None:
    edits = (replace(APP, patience_s=1.0), replace(APP, env={"A": "1"}), replace(APP, lazy=True), APP)
    assert len({e.fingerprint for e in edits}) == 4
    assert an_app().fingerprint == APP.fingerprint


def test_other_code_is_another_build() -> None:
    assert APP.build("c1").id != APP.build("c2").id


def test_a_revision_is_made_once_for_an_app_and_its_inputs() -> None:
    assert APP.revision("code") is APP.revision("code")
    secrets = {"TOKEN": "1"}
    assert APP.revision("code", (), secrets) is APP.revision("code", (), dict(secrets))
    assert APP.revision("code", (), secrets) != APP.revision("code")


def test_settings_that_only_python_takes_for_equal_are_of_two_revisions() -> None:
    number, truth = (replace(APP, server=Server(settings={"reuse_port": value})) for value in (1, True))
    assert number == truth
    assert number.revision("code").id != truth.revision("code").id


def test_the_same_configuration_of_two_apps_is_two_revisions() -> None:
    assert replace(APP, name="shop").revision("c1").id != APP.revision("c1").id


def test_an_environment_is_not_shown_where_an_app_or_revision_is_printed() -> None:
    secret = replace(APP, env={"API_KEY": "hunter2"})
    assert "hunter2" not in f"{secret} {secret.revision('c1')}"


@pytest.mark.parametrize(
    ("address", "text"),
    [(Address(host="127.0.0.1", port=80), "127.0.0.1:80"), (Address(host="::1", port=80), "[::1]:80")],
)
def test_an_address_reads_as_in_a_url(address: Address, text: str) -> None:
    assert str(address) == text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), _json, max_size=4))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@given(_json, _json)
def test_equal_fingerprints_mean_equal_values(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other) or one == other


BOUND = Bound(service="db", type="sqlite", label="sqlite", plan="free", instance="i1", grant="g1", credentials="c1")


def test_services_and_secrets_change_no_revision_of_an_app_that_has_none() -> None:
    app = an_app()
    assert app.revision("c1", (), {}).id == app.revision("c1").id
    assert not {"bindings", "env_secrets"} & set(canonical(app.revision("c1")))  # type: ignore[call-overload]
    assert not {"bindings", "env_files", "env_lists"} & set(canonical(app))  # type: ignore[call-overload]


@pytest.mark.parametrize("different", [{"credentials": "c2"}, {"label": "mysql-5.1"}, {"tags": ("t",)}, {"name": "n"}])
def test_a_changed_credential_or_label_is_a_new_revision(different: dict[str, Any]) -> None:
    app = an_app(release="migrate")
    before, after = (app.revision("c1", (bound,)) for bound in (BOUND, replace(BOUND, **different)))
    assert before.id != after.id
    assert (release_id(before) == release_id(after)) == (set(different) <= {"credentials", "tags"})


def test_a_revision_with_services_survives_being_written_down() -> None:
    revision = an_app().revision("c1", (replace(BOUND, tags=("a", "b")),), {"TOKEN": "v1"})
    assert revision_from(json.loads(json.dumps(asdict(revision)))) == revision
    old = {k: v for k, v in asdict(an_app().revision("c1")).items() if k not in {"bindings", "env_secrets"}}
    assert revision_from(old) == an_app().revision("c1")


def test_a_revision_is_the_same_object_as_long_as_nothing_changes_however_many_apps_there_are() -> None:
    apps = [replace(APP, name=f"app-{number}") for number in range(1000)]
    first = [app.revision("c1", (), {"KEY": "v1"}) for app in apps]
    assert all(app.revision("c1", (), {"KEY": "v1"}) is known for app, known in zip(apps, first, strict=True))
    assert apps[0].revision("c2", (), {"KEY": "v1"}) != first[0] != apps[0].revision("c1", (), {"KEY": "v2"})
    assert apps[0] == replace(APP, name="app-0")
