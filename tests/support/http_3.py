"""A client of HTTP/3 (RFC 9114): one QUIC connection to a name at a port of this host, for many requests."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamReset

from tests.support.websockets import frame

_LONGEST = 65536


class Http3:
    """Raises OSError if nothing listens there, the connection ends, or no answer comes `within` seconds."""

    def __init__(self, name: str, port: int, within: float = 30.0) -> None:
        self._name, self._within = name, within
        given = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, verify_mode=ssl.CERT_NONE)
        self._quic = QuicConnection(configuration=given)
        self._line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._line.connect(("127.0.0.1", port))
        self._quic.connect(("127.0.0.1", port), now=time.monotonic())
        self._http = H3Connection(self._quic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._quic.close()
        with suppress(OSError):
            self._send()
        self._line.close()

    def ask(self, path: str = "/", authority: str | None = None) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of a GET; 0 for a stream that is reset."""
        stream = self._begin(
            {":method": "GET", ":path": path}, self._name if authority is None else authority, ends=True
        )
        headers, body = dict[str, str](), b""
        for part in self._parts(stream):
            if isinstance(part, HeadersReceived):
                headers |= {name.decode(): value.decode() for name, value in part.headers}
            else:
                body += part.data
            if part.stream_ended:
                return int(headers.pop(":status")), body.decode(), headers
        return 0, "", {}

    def said_by_websocket(self, text: str) -> bytes:
        """The first bytes that are answered to a message, on a websocket of its own (RFC 9220), b"" for none."""
        asked = {":method": "CONNECT", ":protocol": "websocket", ":path": "/", "sec-websocket-version": "13"}
        stream = self._begin(asked, self._name)
        self._http.send_data(stream, frame(1, text.encode()), end_stream=False)
        return next((part.data for part in self._parts(stream) if isinstance(part, DataReceived)), b"")

    def _begin(self, fields: dict[str, str], authority: str, *, ends: bool = False) -> int:
        stream = self._quic.get_next_available_stream_id()
        every = {**fields, ":scheme": "https", ":authority": authority}
        in_order = sorted(every.items(), key=lambda field: not field[0].startswith(":"))
        self._http.send_headers(stream, [(name.encode(), value.encode()) for name, value in in_order], end_stream=ends)
        return stream

    def _parts(self, stream: int) -> Iterator[HeadersReceived | DataReceived]:
        """What comes on a stream, until it is reset."""
        until = time.monotonic() + self._within
        while True:
            self._send()
            while (event := self._quic.next_event()) is not None:
                if isinstance(event, ConnectionTerminated):
                    raise ConnectionResetError(event.reason_phrase or f"error {event.error_code}")
                if isinstance(event, StreamReset) and event.stream_id == stream:
                    return
                for part in self._http.handle_event(event):
                    if isinstance(part, HeadersReceived | DataReceived) and part.stream_id == stream:
                        yield part
            self._receive(until)

    def _send(self) -> None:
        for datagram, _ in self._quic.datagrams_to_send(now=time.monotonic()):
            self._line.send(datagram)

    def _receive(self, until: float) -> None:
        """Wait for a datagram, or until the connection has something to do by itself."""
        now, timer = time.monotonic(), self._quic.get_timer()
        if now >= until:
            raise TimeoutError("no answer")
        self._line.settimeout(max(0.001, min(until, until if timer is None else timer) - now))
        try:
            self._quic.receive_datagram(self._line.recv(_LONGEST), self._line.getpeername(), now=time.monotonic())
        except TimeoutError:
            if timer is not None and time.monotonic() >= timer:
                self._quic.handle_timer(now=time.monotonic())
