"""Authenticate the webhooks of git servers, each in the way of its server, over the raw body.

Every form that a request has is compared, in a time that reveals nothing of what was expected.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator

from starlette.datastructures import Headers

# Each has a hexadecimal HMAC-SHA256 of the body after this prefix: GitHub, Bitbucket, Gitea, Forgejo. GitHub's
# X-Hub-Signature is SHA-1, which does not count; Bitbucket sends SHA-256 under that name, and the prefix tells.
_OF_BODY = (
    ("x-hub-signature-256", "sha256="),
    ("x-hub-signature", "sha256="),
    ("x-gitea-signature", ""),
    ("x-forgejo-signature", ""),
)
# By Standard Webhooks, which GitLab follows: of the id, the time and the body. https://www.standardwebhooks.com
_STANDARD, _STANDARD_PARTS = "webhook-signature", ("webhook-id", "webhook-timestamp")
_STANDARD_SECRET = "whsec_"  # noqa: S105  the beginning of a secret, in base64
_LONGEST_TEXT = 512


class HookSignature:
    """The authentication of one request, of which `add` takes the body block by block."""

    def __init__(self, headers: Headers, secret: bytes) -> None:
        self._sent = [*_hexadecimal(headers)]
        self._of_body = hmac.new(secret, digestmod=hashlib.sha256)
        self._standard_sent = [*_standard(headers)]
        self._of_all = hmac.new(_standard_key(secret), _standard_beginning(headers), hashlib.sha256)
        self._tokens = [*_tokens(headers)]
        self._secret = secret

    @property
    def is_there(self) -> bool:
        """Whether the request has anything that could authenticate it."""
        return bool(self._sent or self._standard_sent or self._tokens)

    def add(self, block: bytes) -> None:
        """Take the next block of the body."""
        if self._sent:
            self._of_body.update(block)
        if self._standard_sent:
            self._of_all.update(block)

    def is_genuine(self) -> bool:
        """Return whether the client that sent the whole body knows the secret."""
        expected, digest = self._of_body.hexdigest().encode(), self._of_all.digest()
        found = [hmac.compare_digest(sent, expected) for sent in self._sent]
        found += [hmac.compare_digest(sent, digest) for sent in self._standard_sent]
        found += [hmac.compare_digest(_hashed(sent), _hashed(self._secret)) for sent in self._tokens]
        return any(found)


def _hexadecimal(headers: Headers) -> Iterator[bytes]:
    for name, prefix in _OF_BODY:
        for value in headers.getlist(name):
            if value.startswith(prefix):
                yield value.removeprefix(prefix).strip().lower().encode("latin-1", "replace")


def _standard(headers: Headers) -> Iterator[bytes]:
    """Yield the signatures of a header that has one or more, each behind its version."""
    if any(len(headers.get(part, "")) not in range(1, _LONGEST_TEXT) for part in _STANDARD_PARTS):
        return
    for value in headers.getlist(_STANDARD):
        for part in value.split():
            version, _, text = part.partition(",")
            if version == "v1" and (digest := _decoded(text)):
                yield digest


def _standard_beginning(headers: Headers) -> bytes:
    """Return what is signed before the body."""
    return "".join(f"{headers.get(part, '')}." for part in _STANDARD_PARTS).encode("latin-1", "replace")


def _standard_key(secret: bytes) -> bytes:
    """Return the key that a secret stands for: `whsec_` begins one in base64."""
    text = secret.decode("latin-1")
    return (_decoded(text.removeprefix(_STANDARD_SECRET)) if text.startswith(_STANDARD_SECRET) else b"") or secret


def _tokens(headers: Headers) -> Iterator[bytes]:
    """Yield the secrets that a request has as they are: GitLab's older form, and that of scripts."""
    for value in headers.getlist("x-gitlab-token"):
        yield value.encode("latin-1", "replace")
    for value in headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip().encode("latin-1", "replace")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _hashed(token: bytes) -> bytes:
    """Return a digest in place of a token, so that a comparison does not reveal how long it is."""
    return hashlib.sha256(token).digest()
