"""Send one request to a registry, or to where it leads, and return the answer; no failure shows a header.

What HTTP refuses it puts into its exceptions, headers included: their text goes nowhere.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import field
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from reconciler.linux.dataclass import dataclass
from reconciler.linux.encodable import encodable
from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import opened_file
from reconciler.staging.images.reference import RegistryError

_PIECE = 1 << 18
_MOST_BYTES, _LONGEST_WHY = 1 << 20, 300
_KINDS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_SENT_ALWAYS = {"Accept": _KINDS, "User-Agent": "reconciler"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a registry; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    url: str
    content: bytes = field(default=b"", repr=False)
    challenges: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """Where it leads to, "" for nowhere."""
        said = self.headers.get("location", "")
        return urljoin(self.url, said) if said else ""

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its errors."""
        return tuple(str(each.get("code", "")) for each in self._errors())

    @property
    def why(self) -> str:
        """What it says for people, on one line."""
        said = [f"{each.get('code', '')} {each.get('message', '')}".strip() for each in self._errors()]
        return " ".join(encodable("; ".join(said)).split())[:_LONGEST_WHY]

    def _errors(self) -> list[Mapping[str, object]]:
        try:
            found = json.loads(self.content)["errors"]
            return [each for each in found if isinstance(each, Mapping)]
        except (ValueError, KeyError, TypeError, RecursionError):
            return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a file, to be sent."""

    file: Path
    offset: int
    length: int

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes. Raises OSError."""
        with opened_file(self.file) as file:
            file.seek(self.offset)
            left = self.length
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise RegistryError(f"{self.file} became shorter while it was pushed; run the command again")
                left -= len(piece)
                yield piece


class NotNow(Exception):
    """A registry may do later what it did not do now, after `pause_s` at the earliest."""

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class Transport:
    """How a registry is reached: over TLS unless it is plain. `sent` counts the bytes of content that were sent."""

    def __init__(self, host: str, *, plain: bool, trust: ssl.SSLContext | None, answer_s: float) -> None:
        self.host, self.plain, self.sent = host, plain, 0
        self._trust, self._answer_s = trust, answer_s

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Part) -> Answer:
        """Send one request over a connection of its own; blocks. Raises NotNow, RegistryError, OSError of `body`."""
        split = urlsplit(url)
        if split.scheme != "https" and not (split.scheme == "http" and self.plain):
            raise RegistryError(f"{self.host} leads to a place without https, which is not followed")
        length = body.length if isinstance(body, Part) else len(body)
        sized = {"Content-Length": str(length)} if length or method in ("POST", "PUT", "PATCH") else {}
        try:
            with closing(self._connection(split)) as connection:
                target = f"{split.path or '/'}{f'?{split.query}' if split.query else ''}"
                try:
                    connection.request(method, target, self._counted(body), {**_SENT_ALWAYS, **sized, **headers})
                except (BrokenPipeError, ConnectionResetError):
                    if connection.sock is None:  # it has not even begun
                        raise
                response = connection.getresponse()  # also of one that answered before it had all
                content = response.read(_MOST_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            raise self._failure(error, str(split.hostname)) from None
        named = {name.lower(): value for name, value in response.getheaders()}
        challenges = tuple(response.headers.get_all("WWW-Authenticate") or ())
        return Answer(status=response.status, headers=named, url=url, content=content, challenges=challenges)

    def _connection(self, split: SplitResult) -> http.client.HTTPConnection:
        try:
            host, port = split.hostname or "", split.port
        except ValueError:
            raise RegistryError(f"{self.host} leads to a place that is no URL") from None
        if split.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._answer_s)
        if self._trust is None:
            self._trust = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=self._answer_s, context=self._trust)

    def _counted(self, body: bytes | Part) -> Iterator[bytes]:
        for piece in body.pieces() if isinstance(body, Part) else ([body] if body else []):
            self.sent += len(piece)
            yield piece

    def _failure(self, error: Exception, host: str) -> Exception:
        if isinstance(error, ssl.SSLCertVerificationError):
            advice = "name the authority in --registry-ca"
            return RegistryError(f"the certificate of {host} is not trusted: {error.verify_message}; {advice}")
        if isinstance(error, socket.gaierror):
            if error.errno == socket.EAI_NONAME:
                return RegistryError(f"there is no host {host}")
            return NotNow(f"cannot find {host}: {in_words(error)}")
        if isinstance(error, TimeoutError):
            return NotNow(f"{host} did not answer within {self._answer_s:g} s")
        why = getattr(error, "strerror", None) or type(error).__name__
        return NotNow(f"the connection to {host} failed: {why}")


def trusting(authority: Path | None) -> ssl.SSLContext:
    """Return whom to trust: the authorities in a file alone, else those of this host. Raises RegistryError."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:  # an ssl.SSLError is one
        raise RegistryError(f"cannot read the certificates in {authority}: {in_words(error)}") from None
