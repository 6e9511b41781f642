"""Send a request to a git server, and say in words why it was not taken. Blocks: for a thread of its own."""

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reconciler.daemon.statuses.forges import Post

if TYPE_CHECKING:
    from email.message import Message

# What to do with a status that was not taken: try it again soon, or rarely, or never.
Again: TypeAlias = Literal["soon", "rarely", "never"]

_LONGEST_PAUSE_S = 3600.0
_LONGEST_WHY = 200
AWAY = "away"
_IS_KNOWN, _MOST_READ = b"Cannot transition status", 4096
_IS_REFUSED = {400: "never", 404: "rarely", 409: "never", 410: "never", 422: "never", 401: "rarely", 403: "rarely"}


class NotTaken(Exception):
    """A status that was not taken, and why, without anything secret; `pause_s` is what the server asks for.

    Of a server that is away, each attempt may end in another way: these have one `kind`, and others their reason.
    """

    def __init__(self, why: str, again: Again = "soon", pause_s: float = 0.0, *, kind: str = "") -> None:
        super().__init__(why)
        self.again = again
        self.pause_s = pause_s
        self.kind = kind or why


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the token to a server that the settings do not name."""

    def redirect_request(self, *_: Any) -> None:
        return None


def send(post: Post, authority: Path | None, timeout_s: float) -> None:
    """Send a request; `authority` is a file of the only certificates to trust. Raises NotTaken."""
    try:
        trust = ssl.create_default_context(cafile=authority)
    except OSError:
        raise NotTaken(f"cannot read the certificates in {authority}") from None
    request = urllib.request.Request(post.url, data=post.content, headers=dict(post.headers))  # noqa: S310  https only
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(request, timeout=timeout_s):
            pass
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 400 and _is_known(error):
                return
            raise _refusal(error.code, error.headers) from None
    except urllib.error.URLError as error:
        raise _failure(error.reason) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failure(error) from None


def _is_known(error: urllib.error.HTTPError) -> bool:
    """Return whether the commit has that status already, which GitLab refuses: a daemon told it, and was killed."""
    try:
        return _IS_KNOWN in error.read(_MOST_READ)
    except (OSError, http.client.HTTPException):
        return False


def _refusal(code: int, headers: "Message") -> NotTaken:
    pause_s = _seconds(headers.get("Retry-After"))
    if code == 429 or (code == 403 and (pause_s or headers.get("X-RateLimit-Remaining") == "0")):
        return NotTaken(f"it answered {code}: too many requests", "soon", pause_s or 60.0)
    match code:
        case 401:
            why = "it answered 401: it does not know the token"
        case 403 | 404:
            why = f"it answered {code}: the token may not write statuses of commits, or the project is another one"
        case _ if 300 <= code < 400:
            return NotTaken(f"it answered {code}: name the address that it redirects to in 'api'", "rarely")
        case _:
            why = f"it answered {code}"
    again: Again = _IS_REFUSED.get(code, "soon")  # type: ignore[assignment]
    return NotTaken(why, again, pause_s, kind=AWAY if again == "soon" else "")


def _seconds(written: str | None) -> float:
    """Return what a server asks to wait, within reason, 0 if it does not say that in seconds."""
    return min(float(written), _LONGEST_PAUSE_S) if written and written.isascii() and written.isdigit() else 0.0


def _failure(error: object) -> NotTaken:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotTaken(f"its certificate is not trusted: {error.verify_message}")
    if isinstance(error, TimeoutError):
        return NotTaken("it does not answer in time", kind=AWAY)
    # What a proxy refuses has no number of an error.
    why = (error.strerror or str(error)) if isinstance(error, OSError) else ""
    return NotTaken(why[:_LONGEST_WHY] or type(error).__name__, kind=AWAY)
