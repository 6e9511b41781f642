"""Texts of any kind can be encoded once they have passed; those that could before are left as they are."""

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from reconciler.linux.encodable import encodable

_TEXTS = st.text(st.characters(categories=None)) | st.binary().map(os.fsdecode)


@given(_TEXTS)
def test_any_text_can_be_encoded(text: str) -> None:
    shown = encodable(text)
    assert shown.encode().decode() == shown
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
    assert encodable(shown) == shown


@given(st.text())
def test_a_text_that_utf_8_can_encode_stays(text: str) -> None:
    assert encodable(text) == text
