"""Login links: each logs in one browser, once, within a few minutes. A link is listed on disk by its digest only.

A link carries its secret in the path. Opening it shows a form that sends the secret in a body, so that a browser which
loads pages ahead uses up nothing, and no other page learns of it.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

from reconciler.web.expiring_digests import ExpiringDigests

LINK_S = 5 * 60
LINK_PATTERN = r"[\w-]{32}"


class LoginLinks:
    """The links that were made and not used. A link was made with a token, and ends with it."""

    def __init__(self, file: Path) -> None:
        self._digests = ExpiringDigests(file, LINK_S)

    def make(self, token: str) -> str:
        """Return the secret of a new link."""
        link = secrets.token_urlsafe(24)
        self._digests.add(_digest(link, token))
        return link

    def is_open(self, link: str, token: str) -> bool:
        """Return whether `use` would."""
        return self._digests.holds(_digest(link, token))

    def use(self, link: str, token: str) -> bool:
        """Return whether a link was made with this token and was neither used nor outlived; it opens nothing more."""
        return self._digests.remove(_digest(link, token))


def _digest(link: str, token: str) -> str:
    return hmac.new(token.encode(), f"link {link}".encode(), hashlib.sha256).hexdigest()
