"""A client of HTTP/2 (RFC 9113) that may send what no library would, and uses one connection for many requests."""

import socket
import struct
from types import TracebackType
from typing import Self

from tests.support.proxies import context

_STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}  # of the static table of HPACK
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_LAST, _WHOLE, _ACKNOWLEDGED = 1, 4, 1


class Http2:
    """One connection to a name at a port of this host."""

    def __init__(self, name: str, port: int) -> None:
        made = context()
        made.set_alpn_protocols(["h2"])
        opened = socket.create_connection(("127.0.0.1", port), 30)
        try:
            self._line = made.wrap_socket(opened, server_hostname=name)
        except BaseException:
            opened.close()
            raise
        assert self._line.selected_alpn_protocol() == "h2"
        self._file = self._line.makefile("rb")
        self._name, self._stream = name, -1
        self._line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._line.close()

    def ask(self, authority: str | None = None, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of a GET, or of a POST with a body; 0 for a stream that ends without an answer.

        A status that the static table does not have is 1. Raises OSError once the connection has ended.
        """
        self._stream += 2
        fields = [(":method", "GET" if body is None else "POST"), (":scheme", "https"), (":path", "/")]
        fields += [(":authority", self._name if authority is None else authority)]
        block = b"".join(b"\0" + _text(field) + _text(value) for field, value in fields)
        sent = _frame(_HEADERS, _WHOLE | (_LAST if body is None else 0), self._stream, block)
        self._line.sendall(sent + (b"" if body is None else _frame(_DATA, _LAST, self._stream, body)))
        return self._answer()

    def _answer(self) -> tuple[int, bytes]:
        status, body = 0, b""
        while head := self._file.read(9):
            length, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:])
            payload = self._file.read(length)
            if kind == _PING and not flags & _ACKNOWLEDGED:
                self._line.sendall(_frame(_PING, _ACKNOWLEDGED, 0, payload))
            elif kind == _SETTINGS and not flags & _ACKNOWLEDGED:
                self._line.sendall(_frame(_SETTINGS, _ACKNOWLEDGED, 0, b""))
            elif kind == _GOAWAY and int.from_bytes(payload[:4]) < self._stream:
                return 0, body
            elif stream == self._stream:
                if kind == _HEADERS:
                    status = _STATUSES.get(payload[0] & 0x7F, 1) if payload[0] & 0x80 else 1
                elif kind == _DATA:
                    body += payload
                if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _LAST):
                    return status, body
        raise ConnectionResetError("the connection has ended")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _text(text: str) -> bytes:
    raw = text.encode("latin-1")
    assert len(raw) < 127
    return bytes([len(raw)]) + raw
