"""Follow the HTTP/1 answers on one connection: where each begins and ends, and whether the client waits for one.

Every byte is passed on as it came, but for one header: an answer can be made the last of its connection. What is no
HTTP/1, and what a connection is upgraded to, is passed on without a look.
"""

import re

_METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE")
_LONGEST_HEAD = 64 * 1024
_LONGEST_SIZE = 32
_END = b"\r\n\r\n"
_END_ALIKE = b"\n\n"  # of programs that write lines their own way, and whose clients must not wait for ours
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\n(?:connection|keep-alive):[^\r\n]*(?=\r\n)", re.IGNORECASE)
_PROBE = b"reconciler-health"

_HEAD, _LENGTH_BODY, _CHUNK_SIZE, _CHUNK, _TRAILER, _TO_THE_END, _UNKNOWN = range(7)


class Answers:
    """The answers of one connection. `waits` is whether a request has no complete answer yet.

    `is_probe` says that it is the daemon's, `status` the class of the last answer (1 to 5), `last` that the client was
    told to send no further request. `opaque` is a connection whose requests cannot be told apart, `upgraded` one that
    HTTP has made another of.
    """

    __slots__ = (
        "_bodiless", "_coming", "_held", "_left", "_state", "is_probe", "last", "opaque", "status", "upgraded", "waits",
    )  # fmt: skip

    def __init__(self) -> None:
        self._state = _HEAD
        self._held = b""
        self._left = 0
        self._bodiless = False
        self._coming = 0  # of a question's body, which a program may answer before it has it
        self.waits = False
        self.is_probe = False
        self.opaque = False
        self.upgraded = False
        self.last = False
        self.status = 2

    def asked(self, data: bytes) -> bool:
        """Take what the client sent; return whether a request begins with it."""
        taken = min(self._coming, len(data))
        self._coming -= taken
        data = data[taken:]
        if self.waits or self.opaque or not data:
            return False
        method, _, _ = data[:16].partition(b" ")
        if method not in _METHODS and not any(each.startswith(method) for each in _METHODS):
            self.opaque, self._state = True, _UNKNOWN
        self.waits = True
        self.is_probe = _PROBE in data[:2048]
        self._bodiless = method == b"HEAD"
        self._coming = _missing(data)
        return True

    def answered(self, data: bytes, *, closing: bool) -> tuple[bytes, int]:
        """Take what the program sent; return what to pass on, and how many answers were completed by it.

        With `closing`, an answer that begins now says that it is the connection's last.
        """
        if self._state == _UNKNOWN:
            return data, 0
        passed: list[bytes] = []
        completed = 0
        while data:
            if self._state == _HEAD:
                head, data = self._head(data, closing=closing)
                passed.append(head)
            else:
                taken = self._body(data)
                passed.append(data[:taken])
                data = data[taken:]
            if self._state == _HEAD and not self._held and self._left == -1:
                self._left, self.waits = 0, False
                completed += 1
        return b"".join(passed), completed

    def rest(self) -> bytes:
        """Return what is held of an answer that never came whole."""
        held, self._held = self._held, b""
        return held

    def _head(self, data: bytes, *, closing: bool) -> tuple[bytes, bytes]:
        """Return the head of an answer as it is to be passed on, "" before it is complete, and what follows it."""
        known = self._held + data
        at = known.find(_END)
        is_foreign = at < 0 and (_END_ALIKE in known or len(known) > _LONGEST_HEAD)
        if is_foreign or not known.startswith(b"HTTP/1."[: len(known)]):
            self.opaque, self._state, self._held = True, _UNKNOWN, b""
            return known, b""
        if at < 0:
            self._held = known
            return b"", b""
        self._held = b""
        head, rest = known[: at + 2], known[at + 4 :]
        code = head[9:12]
        if code.startswith(b"1") and code != b"101":  # another head follows
            return head + b"\r\n", rest
        self.waits = True  # also an answer to a request that came with the one before
        self.status = code[0] - 48 if code[:1] in (b"1", b"2", b"3", b"4", b"5") else 5
        self._begin_body(head, code)
        if closing and self._state != _UNKNOWN:
            head = _CONNECTION.sub(b"", head) + b"Connection: close\r\n"
            self.last = True
        return head + b"\r\n", rest

    def _begin_body(self, head: bytes, code: bytes) -> None:
        if code == b"101":
            self.opaque = self.upgraded = True
            self._state = _UNKNOWN
        elif self._bodiless or code in (b"204", b"304"):
            self._over()
        elif _CHUNKED.search(head):
            self._state = _CHUNK_SIZE
        elif (length := _LENGTH.search(head)) is not None:
            self._state, self._left = _LENGTH_BODY, int(length[1])
            if not self._left:
                self._over()
        else:
            self._state = _TO_THE_END

    def _over(self) -> None:
        self._state, self._left, self._bodiless = _HEAD, -1, False

    def _body(self, data: bytes) -> int:
        """Return how many of these bytes belong to the part of the body that is at hand."""
        if self._state in (_LENGTH_BODY, _CHUNK):
            taken = min(self._left, len(data))
            self._left -= taken
            if not self._left and self._state == _LENGTH_BODY:
                self._over()
            elif not self._left:
                self._state = _CHUNK_SIZE
            return taken
        if self._state in (_CHUNK_SIZE, _TRAILER):
            return self._line(data)
        return len(data)

    def _line(self, data: bytes) -> int:
        """Take a line between chunks, which may come in parts."""
        at = data.find(b"\n")
        taken = len(data) if at < 0 else at + 1
        self._held += data[:taken]
        if at < 0:
            if len(self._held) > _LONGEST_HEAD:
                self.opaque, self._state, self._held = True, _UNKNOWN, b""
            return taken
        line, self._held = self._held.strip(), b""
        if self._state == _TRAILER:
            if not line:
                self._over()
        elif line:  # otherwise the end of the chunk before
            size, _, _ = line.partition(b";")
            try:
                self._left = int(size[:_LONGEST_SIZE], 16)
            except ValueError:
                self.opaque, self._state = True, _UNKNOWN
                return taken
            self._state = _CHUNK if self._left else _TRAILER
        return taken


def _missing(question: bytes) -> int:
    """Return how much of the body of a question has not come with the head, 0 where that cannot be told."""
    at = question.find(_END)
    length = _LENGTH.search(question[: at + 2]) if at >= 0 else None
    return 0 if length is None else max(0, int(length[1]) - len(question) + at + len(_END))
