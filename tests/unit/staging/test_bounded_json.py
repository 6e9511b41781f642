"""JSON of strangers is parsed as any, and refused before it would take more than its length is worth."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.staging.detection.bounded_json import parse_json

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested too deeply"),
        ("[" + "[]," * 500_000 + "1]", "more than 500000 values"),
        ("[" + "1," * 500_000 + "1]", "more than 500000 values"),
        ('["' + "\\", "Unterminated string"),
        ("", "Expecting value"),
    ],
)
def test_what_would_take_too_much_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(text)


def test_brackets_and_commas_in_a_text_are_text() -> None:
    text = '"' + '[{,\\"' * 600_000 + '"'
    assert parse_json(text) == json.loads(text)
