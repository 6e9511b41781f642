"""What makes two builds, or two revisions, different ones."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired import Address, App, CrashPolicy, Recipe, Server, Source, fingerprint
from tests.world import an_app

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
        pytest.param(replace(APP, server=Server(workers=2)), id="workers"),
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
        pytest.param(replace(APP, state="stopped"), id="state"),
        pytest.param(replace(APP, crash=CrashPolicy(cap_s=5.0)), id="crash policy"),
    ],
)
def test_what_does_not_reach_the_instance_does_not_replace_it(edited: App) -> None:
    assert edited.revision("c1").id == APP.revision("c1").id


def test_other_code_is_another_build() -> None:
    assert APP.build("c1").id != APP.build("c2").id


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
