"""Where news is sent: values of the host's settings, which show no secret when printed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

PayloadFormat: TypeAlias = Literal["json", "slack"]
Tls: TypeAlias = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A URL that takes a POST of JSON; a path is the file whose content is the URL, read at each message.

    `ca` is a file with the only authorities its certificate is trusted from; without it, they are this host's.
    """

    url: str | Path = field(repr=False)
    format: PayloadFormat = "json"
    ca: Path | None = None

    def __str__(self) -> str:
        return f"the webhook in {self.url}" if isinstance(self.url, Path) else f"the webhook at {_host_of(self.url)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program that gets the message as JSON on its standard input."""

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"the command {self.argv[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """A mail server, who writes, and who is written to; `password` is the file that holds it, `ca` as above."""

    server: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    tls: Tls = "starttls"
    user: str | None = None
    password: Path | None = None
    ca: Path | None = None

    def __str__(self) -> str:
        return f"mail by {self.server}"


Target: TypeAlias = Webhook | Command | Smtp


def _host_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
