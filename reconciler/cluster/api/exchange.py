"""Ask an HTTP/1.1 server over one connection: a request, and an answer as a whole or line by line."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import field

from reconciler.cluster.api.kubeconfig import Access
from reconciler.linux.dataclass import dataclass

# An object has at most 1.5 MiB where etcd keeps it, and is a line of a watch.
_LONGEST_LINE = 8 << 20
_MOST_BYTES = 512 << 20
_WITHIN_S = 10.0


class BrokenExchange(Exception):
    """A connection ended, or said what is no HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


class Exchange:
    """One connection; it may be used again as long as `is_open`."""

    def __init__(self, access: Access, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._access = access
        self._reader = reader
        self._writer = writer
        self.is_open = True

    @classmethod
    async def opened(cls, access: Access) -> "Exchange":
        """Open a connection. Raises OSError, TimeoutError."""
        async with asyncio.timeout(_WITHIN_S):
            reader, writer = await asyncio.open_connection(
                access.host, access.port, ssl=access.trust, limit=_LONGEST_LINE
            )
        return cls(access, reader, writer)

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Answer:
        """Send a request, and return the answer. Raises BrokenExchange, OSError."""
        status, headers = await self._begin(method, path, body, kind)
        try:
            parts = [part async for part in self._parts(headers)]
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise BrokenExchange("the connection ended within an answer") from error
        if headers.get("connection", "").lower() == "close" or not _is_framed(headers):
            self.close()
        return Answer(status=status, headers=headers, body=b"".join(parts))

    async def lines(self, path: str) -> AsyncIterator[bytes | Answer]:
        """Yield the answer without its body, then each line of that, until it ends. Raises BrokenExchange, OSError."""
        status, headers = await self._begin("GET", path, b"", "")
        yield Answer(status=status, headers=headers)
        left = b""
        try:
            async for part in self._parts(headers):
                *whole, left = (left + part).split(b"\n")
                for line in whole:
                    yield line
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise BrokenExchange("the connection ended within an answer") from error
        finally:
            self.close()
        if left:
            yield left

    def close(self) -> None:
        """End the connection."""
        self.is_open = False
        self._writer.close()

    async def _begin(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, dict[str, str]]:
        access = self._access
        head = [
            f"{method} {access.path}{path} HTTP/1.1",
            f"Host: {access.host}:{access.port}",
            "Accept: application/json",
            "User-Agent: reconciler",
            *([f"Authorization: Bearer {access.token}"] if access.token else []),
            *([f"Content-Type: {kind}"] if kind else []),
            *([f"Content-Length: {len(body)}"] if body or method not in {"GET", "DELETE"} else []),
        ]
        try:
            self._writer.write("\r\n".join([*head, "", ""]).encode() + body)
            await self._writer.drain()
            return _head(await self._reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise BrokenExchange("the connection ended before an answer") from error
        except BaseException:
            self.close()
            raise

    async def _parts(self, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                if size > _MOST_BYTES:
                    raise ValueError("too long")
                yield (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
        elif "content-length" in headers:
            yield await self._reader.readexactly(min(int(headers["content-length"]), _MOST_BYTES))
        else:
            while part := await self._reader.read(1 << 16):
                yield part


def _is_framed(headers: Mapping[str, str]) -> bool:
    return "content-length" in headers or "transfer-encoding" in headers


def _head(text: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = text.decode("latin-1").split("\r\n")
    version, _, told = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(first)
    pairs = (line.partition(":") for line in rest if line)
    return int(told[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}
