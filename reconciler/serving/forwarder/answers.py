"""Follow the HTTP/1 answers on one connection: where each begins and ends, and whether the client waits for one.

Every byte is passed on as it came, but for one header: an answer can be made the last of its connection. What is no
HTTP/1, and what a connection is upgraded to, is passed on without a look.
"""

import re

from reconciler.serving.forwarder.bodies import Body, body_of

_METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE")
_LONGEST_HEAD = 64 * 1024
_END = b"\r\n\r\n"
_END_ALIKE = b"\n\n"  # of programs that write lines their own way, and whose clients must not wait for ours
_CONNECTION = re.compile(rb"\r\n(?:connection|keep-alive):[^\r\n]*(?=\r\n)", re.IGNORECASE)
_PROBE = b"reconciler-health"

_HEAD, _BODY, _TO_THE_END, _UNKNOWN = range(4)


class Answers:
    """The answers of one connection. `waits` is whether a request has no complete answer yet.

    `is_probe` says that it is the daemon's, `status` the class of the last answer (1 to 5), `last` that the client was
    told to send no further request. `opaque` is a connection whose requests cannot be told apart, `upgraded` one that
    HTTP has made another of.
    """

    __slots__ = (
        "_asked", "_body", "_coming", "_held", "_is_over", "_questions", "_state", "is_probe", "last", "opaque",
        "status", "upgraded",
    )  # fmt: skip

    def __init__(self) -> None:
        self._state = _HEAD
        self._held = b""
        self._body: Body | None = None
        self._is_over = False
        self._questions: list[bytes] = []  # the methods of those that have no complete answer
        self._asked = b""  # of a question's head that is not complete
        self._coming: Body | None = None  # of a question, which a program may answer before it has all of that
        self.is_probe = False
        self.opaque = False
        self.upgraded = False
        self.last = False
        self.status = 2

    @property
    def waits(self) -> bool:
        return bool(self._questions)

    def asked(self, data: bytes) -> bool:
        """Take what the client sent; return whether a request begins with it, and none before it has no answer yet."""
        begins = False
        while data and not self.opaque:
            if self._coming is not None:
                data = data[self._coming.take(data) :]
                if self._coming.broken:
                    self._give_up()
                elif self._coming.over:
                    self._coming = None
                continue
            if not self._asked:
                data = data.lstrip(b"\r\n")  # some clients send an empty line behind a body
                begins = self._begin_question(data) or begins
            self._asked += data
            at = self._asked.find(_END)
            if at >= 0:
                head, data = self._asked[: at + 2], self._asked[at + len(_END) :]
                self._asked, self._coming = b"", body_of(head)
                continue
            if len(self._asked) > _LONGEST_HEAD:
                self._give_up()
            break
        return begins

    def _begin_question(self, data: bytes) -> bool:
        """Begin with the first bytes of a question, if there are any; return whether it is the only one."""
        if not data:
            return False
        method, _, _ = data[:16].partition(b" ")
        if method not in _METHODS and not any(each.startswith(method) for each in _METHODS):
            self._give_up()
        self._questions.append(method)
        if len(self._questions) > 1:
            return False
        self.is_probe = _PROBE in data[:2048]
        return True

    def _give_up(self) -> None:
        """Take the connection for one whose requests cannot be told apart."""
        self.opaque, self._state, self._asked, self._coming = True, _UNKNOWN, b"", None

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
                taken = self._of_body(data)
                passed.append(data[:taken])
                data = data[taken:]
            if self._is_over:
                self._is_over = False
                del self._questions[:1]
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
        if not self._questions:
            self._questions.append(b"")  # which this answers was not seen
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
        elif self._questions[0] == b"HEAD" or code in (b"204", b"304"):
            self._over()
        elif (body := body_of(head)) is None:
            self._state = _TO_THE_END
        elif body.over:
            self._over()
        else:
            self._state, self._body = _BODY, body

    def _over(self) -> None:
        self._state, self._body, self._is_over = _HEAD, None, True

    def _of_body(self, data: bytes) -> int:
        """Return how many of these bytes belong to the body."""
        if self._body is None:
            return len(data)
        taken = self._body.take(data)
        if self._body.broken:
            self.opaque, self._state = True, _UNKNOWN
        elif self._body.over:
            self._over()
        return taken
