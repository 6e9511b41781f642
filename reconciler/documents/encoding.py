"""Decode text that users and their editors wrote: UTF-8, or UTF-16 and UTF-32 that say so by a byte order mark.

The mark is no part of the text.
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
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        lines = error.object[: error.start].decode(encoding, "replace").split("\n")
        name = encoding.removesuffix("-le").removesuffix("-be").upper()
        raise Undecodable(name, error.object[error.start], len(lines), len(lines[-1]) + 1) from error
