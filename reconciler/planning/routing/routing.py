"""What the proxy is to do for an app, as its manifest says it; none of it is part of a revision."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Tls: TypeAlias = Literal["auto", "internal", "off", "files"]
Http: TypeAlias = Literal["redirect", "serve"]

EVERYTHING = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The absolute paths of a certificate, with its chain, and of its private key."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The domains of an app, and how the proxy serves them; the first one is the app's own name.

    `below` is the path that the app has at them, without a slash at its end unless it is `/`. `certificate` is given
    exactly when `tls` is `files`. `login` is the absolute path of a file of users with hashes. `body_limit` is in
    bytes; None in place of a limit is none. `static` are paths below that one, each with a directory of the build.
    """

    domains: tuple[str, ...]
    redirects: tuple[str, ...] = ()
    below: str = EVERYTHING
    strip: bool = False
    tls: Tls = "auto"
    certificate: Certificate | None = None
    http: Http = "redirect"
    hsts_s: float | None = None
    body_limit: int | None = None
    answer_timeout_s: float | None = None
    login: str | None = None
    allow_from: tuple[str, ...] = ()
    static: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that leads to the app."""
        return (*self.domains, *self.redirects)

    def claims(self) -> Iterator[tuple[str, str]]:
        """Yield each name with the path below which the app has it, which no other app may have."""
        for domain in self.domains:
            yield domain, self.below
        for name in self.redirects:
            yield name, EVERYTHING

    def of_a_name(self) -> tuple[object, ...]:
        """Return what all apps at one name have to agree on."""
        return self.tls, self.certificate, self.http, self.hsts_s
