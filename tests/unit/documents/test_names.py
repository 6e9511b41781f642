"""What may be the name of an app or a service, and that the schemas say the same."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.names import LONGEST_NAME, NAME_PATTERN, is_name, name_from
from reconciler.documents.schemas import schema


@pytest.mark.parametrize("name", ["a", "blog", "blog-2", "0", "a" * LONGEST_NAME])
def test_a_dns_label_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "Blog", "a.b", "a b", "blog\n", "ü", "a" * (LONGEST_NAME + 1)])
def test_nothing_else_is_a_name(name: str) -> None:
    assert not is_name(name)


@given(st.text())
def test_a_text_is_made_a_name_or_nothing(text: str) -> None:
    made = name_from(text)
    assert made == "" or is_name(made)
    if is_name(text):
        assert made == text


def patterns(part: Any) -> Iterator[str]:
    """Every pattern in a schema."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        for inner in part.values():
            yield from patterns(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from patterns(inner)


@pytest.mark.parametrize("kind", ["app", "service"])
def test_the_schemas_hold_the_same_pattern(kind: str) -> None:
    fields = schema(kind)["properties"]
    assert fields["name"]["pattern"] == f"^{NAME_PATTERN}$"
    alike = [pattern for pattern in patterns(schema(kind)) if re.search(re.escape("[a-z0-9-]{0,"), pattern)]
    assert set(alike) == {f"^{NAME_PATTERN}$"}, json.dumps(alike)
