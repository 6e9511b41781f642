"""The part of AMQP 0-9-1 that opens a connection to a virtual host, or tells why it is rejected.

Frames and methods as in the specification's 2.3 and its XML: https://www.rabbitmq.com/amqp-0-9-1-reference
"""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field

from reconciler.linux.dataclass import dataclass

_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD, _END = 1, 0xCE
_START, _START_OK, _TUNE, _TUNE_OK, _OPEN, _OPEN_OK, _CLOSE, _CLOSE_OK = (
    (10, number) for number in (10, 11, 30, 31, 40, 41, 50, 51)
)
_LONGEST = 1 << 17


class Refused(Exception):
    """The server rejects the connection; `code` is the specification's, 0 if there is none."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The server, the credentials and the virtual host to connect to."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    encrypted: ssl.SSLContext | None = None


class Connection:
    """A connection that sends and receives methods."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, method: tuple[int, int], arguments: bytes, channel: int = 0) -> None:
        payload = struct.pack(">HH", *method) + arguments
        self._writer.write(struct.pack(">BHI", _METHOD, channel, len(payload)) + payload + bytes([_END]))
        await self._writer.drain()

    async def receive(self, *expected: tuple[int, int]) -> bytes:
        """Return the arguments of the next method, one of these. Raises Refused if the server closes instead."""
        while True:
            try:
                kind, _, size = struct.unpack(">BHI", await self._reader.readexactly(7))
                if size > _LONGEST:
                    raise Refused(0, "what answers is no AMQP server")
                payload = (await self._reader.readexactly(size + 1))[:-1]
            except asyncio.IncompleteReadError:
                raise Refused(0, "it closed the connection") from None
            if kind != _METHOD:
                continue
            method, arguments = struct.unpack(">HH", payload[:4]), payload[4:]
            if method in expected:
                return arguments
            if method[1] in {40, 50} and method[0] in {10, 20}:  # the connection or the channel is closed
                code, length = struct.unpack(">HB", arguments[:3])
                raise Refused(code, arguments[3 : 3 + length].decode(errors="replace"))
            raise Refused(0, f"it answered with method {method}")


@asynccontextmanager
async def connected(login: Login) -> AsyncIterator[Connection]:
    """Open a connection to a virtual host. Raises OSError if there is none, Refused if the server rejects it."""
    reader, writer = await asyncio.open_connection(login.host, login.port, ssl=login.encrypted)
    try:
        connection = Connection(reader, writer)
        writer.write(_HEADER)
        await connection.receive(_START)
        # With this capability the server reports a wrong password; without it, it hangs up.
        able = short("authentication_failure_close") + b"t\x01"
        properties = table(short("capabilities") + b"F" + table(able))
        secret = f"\x00{login.user}\x00{login.password}".encode()
        await connection.send(
            _START_OK, properties + short("PLAIN") + struct.pack(">I", len(secret)) + secret + short("en_US")
        )
        channels, frame, heartbeat = struct.unpack(">HIH", await connection.receive(_TUNE))
        await connection.send(_TUNE_OK, struct.pack(">HIH", channels, frame, heartbeat))
        await connection.send(_OPEN, short(login.vhost) + b"\x00\x00")
        await connection.receive(_OPEN_OK)
        yield connection
        await connection.send(_CLOSE, struct.pack(">H", 200) + short("") + struct.pack(">HH", 0, 0))
        await connection.receive(_CLOSE_OK)
    finally:
        writer.close()


def short(text: str) -> bytes:
    """Encode a string of at most 255 bytes."""
    return bytes([len(text.encode())]) + text.encode()


def table(fields: bytes) -> bytes:
    """Encode fields, or any long string, with its size before it."""
    return struct.pack(">I", len(fields)) + fields
