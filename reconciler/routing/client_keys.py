"""The keys by which an app knows that a request comes through the proxy: one for each app, made of one on the disk."""

import hashlib
import hmac
import secrets
from contextlib import suppress
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_own

_BYTES = 32


class ClientKeys:
    """Derives each app's key from the one in `file`, which is made with the first; a lost one is made again.

    An instance learns its key when it starts; as long as the key is another, it takes the proxy for its client.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._key = b""

    def of(self, app: str) -> str:
        """Return the key of an app as 32 hexadecimal digits."""
        return hmac.new(self._whole(), app.encode(), hashlib.sha256).hexdigest()[:_BYTES]

    def _whole(self) -> bytes:
        if self._key:
            return self._key
        known = b""
        with suppress(OSError):
            known = read_own(self._file, _BYTES)
        if len(known) != _BYTES:
            known = secrets.token_bytes(_BYTES)
            with suppress(OSError):  # no app waits for a full disk: the next daemon makes another
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(self._file, known)
        self._key = known
        return known
