"""Compare the clock of this host with those of its git servers: each tells its time in every answer over https.

By a clock that is wrong, certificates and keys of signers end on another day, and so do freezes of a fleet.
"""

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from reconciler.inspection.checks.check import Check
from reconciler.planning.wording import span
from reconciler.settings.git import Repository
from reconciler.settings.git_url import uses_https
from reconciler.settings.settings import Settings

# A server tells whole seconds, and an answer takes a while.
_TOLERATED_S = 30.0
_WITHIN_S = 10.0
# By OpenSSL's numbers.
_FORBIDDEN_BY_CLOCK = {9: "is not valid yet", 10: "has ended"}
_SET_IT = "set the clock of this host, and keep it with chrony or systemd-timesyncd"
_ADVICE = f"{_SET_IT}: by it, certificates, keys of signers and freezes of a fleet end"


def now_s() -> float:
    """Return the time of day in seconds since 1970."""
    return time.time()  # noqa: TID251  the clock of the day is what is checked


def git_clocks(settings: Settings, clock: Callable[[], float] = now_s) -> Iterator[Check]:
    """Compare this host's clock with each server once; of one that does not answer, the checks of origins tell."""
    servers: dict[str, tuple[str, Repository]] = {}
    for repository in settings.repositories.values():
        for url in filter(uses_https, repository.urls):
            servers.setdefault(urlsplit(url).netloc, (url, repository))
    for server, (url, repository) in servers.items():
        yield from _compared(server, url, repository, clock)


def _compared(server: str, url: str, repository: Repository, clock: Callable[[], float]) -> Iterator[Check]:
    subject, began_s = f"clock of {server}", clock()
    try:
        headers = _answered(url, repository)
    except ssl.SSLCertVerificationError as error:
        if (why := _FORBIDDEN_BY_CLOCK.get(error.verify_code)) is not None:
            found = f"its certificate {why} by the clock of this host, which says {_utc(clock())}"
            yield Check(level="warn", subject=subject, found=found, advice=f"if that is not the time, {_SET_IT}")
        return
    except (OSError, ValueError, http.client.HTTPException):
        return
    here_s = (began_s + clock()) / 2
    there_s = _told(headers)
    if there_s is None:
        return
    if abs(here_s - there_s) <= _TOLERATED_S:
        yield Check(level="ok", subject=subject, found="the clock of this host agrees with it")
        return
    apart = f"{span(abs(here_s - there_s))} {'ahead of' if here_s > there_s else 'behind'}"
    found = f"the clock of this host is {apart} that of the server: here it is {_utc(here_s)}, there {_utc(there_s)}"
    yield Check(level="warn", subject=subject, found=found, advice=_ADVICE)


def _answered(url: str, repository: Repository) -> Message:
    """Return the headers of any answer of a server, which gets no credentials. Raises OSError, ValueError."""
    trust = ssl.create_default_context(cafile=repository.ca)
    if repository.client_certificate is not None:
        trust.load_cert_chain(repository.client_certificate, repository.client_key)
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=trust))
    headers = {"User-Agent": "reconciler", "Cache-Control": "no-cache"}
    request = urllib.request.Request(url, method="HEAD", headers=headers)  # noqa: S310  https only
    try:
        with opener.open(request, timeout=_WITHIN_S) as answer:
            found: Message = answer.headers
            return found
    except urllib.error.HTTPError as error:
        with error:
            return error.headers
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _told(headers: Message) -> float | None:
    """Return the time that a server told, in the middle of the second that it names; None if it told none."""
    try:
        told_s = parsedate_to_datetime(str(headers.get("Date"))).timestamp()
    except (ValueError, OverflowError):
        return None
    age = str(headers.get("Age") or "")
    return told_s + 0.5 + (float(age) if age.isascii() and age.isdigit() else 0.0)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
