"""A text is written as a scalar that every reader of YAML takes for that text."""

import pytest
import yaml
from hypothesis import given

from reconciler.documents.tree import trees_of
from reconciler.documents.written_scalars import scalar
from tests.support.manifest_texts import values


@pytest.mark.parametrize(
    "text",
    [
        "", "true", "NO", "y", "3.10", "12:30", "0x1f", "0o17", "2026-01-01", "~", "null", "=", "<<", " a", "a ",
        "a #b", "a: b", "a:", "-", "- a", "*a", "&a", "!a", "@a", "`a", "%a",
        "a\nb", "\x7f", "\u2028", "\ufeff",
    ],
)  # fmt: skip
def test_what_is_no_plain_text_is_quoted(text: str) -> None:
    assert scalar(text)[0] in "\"'"
    assert yaml.safe_load(f"a: {scalar(text)}\n") == {"a": text}


@pytest.mark.parametrize("text", ["info", "a b", "https://example.com/x", "10s", "a=b", "../x", "3.11.2"])
def test_what_is_plain_text_is_not(text: str) -> None:
    assert scalar(text) == text


@given(values())
def test_it_is_read_as_that_text_wherever_it_stands(text: str) -> None:
    block = f"a: {scalar(text)}\nb: {scalar(text, chr(39))}\n'c': {scalar(text, chr(34))}\n"
    flow = f"{{a: {scalar(text, in_flow=True)}, b: [{scalar(text, in_flow=True)}]}}\n"
    for read in (yaml.safe_load, lambda content: trees_of("", content)[0][0].value):
        assert read(block) == {"a": text, "b": text, "c": text}
        assert read(flow) == {"a": text, "b": [text]}
