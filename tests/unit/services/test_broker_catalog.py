"""What a broker's catalog is read as, whatever it is."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from reconciler.services.types.broker.catalog import parsed
from reconciler.services.types.broker.client import MOST_BYTES, _parsed

FLAGS = ("bindable", "plan_updateable", "bindings_retrievable")
KEYS = ("services", "id", "name", "plans", "requires", "maximum_polling_duration", "metadata", *FLAGS)

values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5) | some.sampled_from(KEYS),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)
plans = some.fixed_dictionaries({"id": some.text(min_size=1), "name": some.text(min_size=1)})
good = some.fixed_dictionaries(
    {"id": some.text(min_size=1), "name": some.text(min_size=1), "plans": some.lists(plans, min_size=1, max_size=3)}
)


@given(some.dictionaries(some.sampled_from(KEYS), values))
def test_any_catalog_is_read_as_offerings_with_ids_names_and_plans(catalog: dict[str, Any]) -> None:
    for offering in parsed(catalog):
        assert offering.id
        assert offering.name
        for plan in offering.plans:
            assert plan.id
            assert plan.name
            assert plan.polling_s is None or plan.polling_s > 0
        assert offering.plans


@given(some.lists(good, max_size=4), some.lists(values, max_size=4), some.randoms())
def test_what_is_malformed_hides_nothing_that_is_not(entries: list[Any], junk: list[Any], chance: Any) -> None:
    mixed = [*entries, *(entry for entry in junk if not (isinstance(entry, dict) and "id" in entry))]
    chance.shuffle(mixed)
    found = parsed({"services": mixed})
    assert sorted((offering.id, len(offering.plans)) for offering in found) == sorted(
        (entry["id"], len(entry["plans"])) for entry in entries
    )


@given(some.binary())
def test_any_bytes_are_a_json_object_or_nothing(body: bytes) -> None:
    found = _parsed(body)
    assert found is None or json.loads(body) == found


def test_what_cannot_be_written_again_is_nothing() -> None:
    for body in (
        b"[" * MOST_BYTES,
        b'{"a": "\\ud800"}',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[1]",
        b"",
        None,
    ):
        assert _parsed(body) is None


def test_a_plan_says_more_than_its_offering() -> None:
    plan: Any = {"id": "p", "name": "p", "bindable": False, "plan_updateable": True, "maximum_polling_duration": 60}
    silent: Any = {"id": "q", "name": "q", "maximum_polling_duration": True}
    (offering,) = parsed({"services": [{"id": "o", "name": "o", "bindable": True, "plans": [plan, silent]}]})
    told = [(plan.bindable, plan.updateable, plan.polling_s) for plan in offering.plans]
    assert told == [(False, True, 60.0), (True, False, None)]
