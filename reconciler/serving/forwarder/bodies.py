"""Follow the body of an HTTP/1 message by its head: which bytes belong to it, and when it is over."""

import re
from typing import Protocol

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_LONGEST_LINE = 64 * 1024
# Hexadecimal digits alone, where int() also takes signs, underscores and a prefix.
_SIZE = re.compile(rb"0*([0-9a-f]{1,15})[ \t]*(;|$)", re.IGNORECASE)


class Body(Protocol):
    """A body that has begun: `over` once all of it was taken, `broken` once it is none any more."""

    over: bool
    broken: bool

    def take(self, data: bytes) -> int:
        """Return how many of these bytes belong to it; all, once it is broken."""


class Sized:
    """A body of so many bytes."""

    __slots__ = ("_left", "broken", "over")

    def __init__(self, length: int) -> None:
        self._left = length
        self.over = not length
        self.broken = False

    def take(self, data: bytes) -> int:
        taken = min(self._left, len(data))
        self._left -= taken
        self.over = not self._left
        return taken


class Chunked:
    """A body in chunks (RFC 9112, 7.1), with its trailers; the lines between chunks may come in parts."""

    __slots__ = ("_held", "_is_trailer", "_left", "broken", "over")

    def __init__(self) -> None:
        self._left = 0
        self._held = b""
        self._is_trailer = False
        self.over = False
        self.broken = False

    def take(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self.over:
            if self.broken:
                return len(data)
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
            else:
                at = self._line(data, at)
        return at

    def _line(self, data: bytes, at: int) -> int:
        """Take a line between chunks from this place on; return where the next part begins."""
        end = data.find(b"\n", at)
        after = len(data) if end < 0 else end + 1
        self._held += data[at:after]
        if end < 0:
            self.broken = len(self._held) > _LONGEST_LINE
            return after
        line, self._held = self._held.strip(), b""
        if self._is_trailer:
            self.over = not line
        elif line:  # otherwise the end of the chunk before
            size = _SIZE.match(line)
            self.broken = size is None
            self._left = int(size[1], 16) if size else 0
            self._is_trailer = not self.broken and not self._left
        return after


def body_of(head: bytes) -> Body | None:
    """Return the body that a head announces, with the end of its last line; None without a word about one."""
    if _CHUNKED.search(head):
        return Chunked()
    length = _LENGTH.search(head)
    return None if length is None else Sized(int(length[1]))
