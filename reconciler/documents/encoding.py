"""Decode text that users and their editors wrote: UTF-8, or UTF-16 and UTF-32 that say so by a byte order mark.

The mark is no part of the text; text that replaces other text is encoded as that was.
"""

import codecs

# UTF-32's mark in little-endian order begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Undecodable(ValueError):
    """Bytes that are no text, at a line and column; the text completes "it is"."""

    def __init__(self, encoding: str, byte: int, line: int, column: int) -> None:
        super().__init__(f"not {encoding}, byte 0x{byte:02x} at line {line} column {column}; save it as UTF-8")
        self.line = line
        self.column = column


def decoded(content: bytes) -> str:
    """Return the text of a file without its byte order mark; raises Undecodable."""
    mark, encoding = _encoding_of(content)
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        lines = error.object[: error.start].decode(encoding, "replace").split("\n")
        name = encoding.removesuffix("-le").removesuffix("-be").upper()
        raise Undecodable(name, error.object[error.start], len(lines), len(lines[-1]) + 1) from error


def encoded(text: str, like: bytes) -> bytes:
    """Return the bytes of a text that replaces the content `like` of a file: with its byte order mark, if any."""
    mark, encoding = _encoding_of(like)
    return mark + text.encode(encoding)


def _encoding_of(content: bytes) -> tuple[bytes, str]:
    return next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
