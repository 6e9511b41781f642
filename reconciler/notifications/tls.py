"""Trust for TLS connections to notification targets."""

import ssl
from pathlib import Path

from reconciler.notifications.target import NotSent, reason


def context(authority: Path | None) -> ssl.SSLContext:
    """Return a context that trusts the host's authorities, or only those in a file; raises NotSent."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError:
        raise NotSent(f"cannot read the certificates in {authority}") from None


def tls_reason(error: object) -> str:
    """Return why a connection failed, an untrusted certificate included, without anything secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return reason(error)
