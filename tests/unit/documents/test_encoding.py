"""Text in the encodings that editors save."""

import codecs

import pytest

from reconciler.documents.encoding import Undecodable, decoded


@pytest.mark.parametrize(
    "content",
    [
        "é=1\n".encode(),
        "é=1\n".encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + "é=1\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "é=1\n".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "é=1\n".encode("utf-32-le"),
        codecs.BOM_UTF32_BE + "é=1\n".encode("utf-32-be"),
    ],
)
def test_a_mark_names_the_encoding_and_is_no_part_of_the_text(content: bytes) -> None:
    assert decoded(content) == "é=1\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\nb\xe9", "not UTF-8, byte 0xe9 at line 2 column 2; save it as UTF-8"),
        (codecs.BOM_UTF8 + b"\xff", "not UTF-8, byte 0xff at line 1 column 1; save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0b", "not UTF-16, byte 0x62 at line 1 column 2; save it as UTF-8"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_their_place(content: bytes, says: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decoded(content)
    assert str(refused.value) == says
