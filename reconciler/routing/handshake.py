"""Learn what a client of a name gets at the proxy: the certificate and its issuer, or why there is none."""

import asyncio
import contextlib
import ssl

from reconciler.linux.dataclass import dataclass
from reconciler.planning.routing.route import Front

_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What a name was answered with; `trouble` is empty if all is well.

    The certificate is valid from `begins_at` until `ends_at`, wall-clock seconds, None without TLS.
    """

    trouble: str = ""
    issuer: str = ""
    begins_at: float | None = None
    ends_at: float | None = None


async def meet(name: str, front: Front, *, tls: bool) -> Met:
    """Connect to the proxy of this host under a name; with `tls`, read the certificate that it shows."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(front.address, front.address)
    port = front.https if tls else front.http
    context = _context() if tls else None
    try:
        async with asyncio.timeout(_ANSWER_S):
            _, writer = await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname=name if tls else None,
                ssl_handshake_timeout=_ANSWER_S if tls else None,
            )
    except TimeoutError:
        return Met(trouble=f"is not answered within {_ANSWER_S:g} s at port {port}")
    except ssl.SSLError:
        return Met(trouble="has no certificate yet")
    except OSError as error:
        return Met(trouble=f"is not answered at port {port}: {error.strerror or error}")
    try:
        opened = writer.get_extra_info("ssl_object")
        return certificate_of(opened.getpeercert(binary_form=True), name) if opened is not None else Met()
    finally:
        with contextlib.suppress(OSError):
            writer.close()


def certificate_of(encoded: bytes, name: str) -> Met:
    """Return what a certificate says, DER; its names have to include the one that was asked for."""
    from cryptography import x509  # loads a library of megabytes, which only hosts with domains need

    certificate = x509.load_der_x509_certificate(encoded)
    issuer = certificate.issuer.rfc4514_string() or "an authority without a name"
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        covered = []
    own = any(each.lower() in {name, f"*.{name.partition('.')[2]}"} for each in covered)
    trouble = "" if own else "is answered with the certificate of another name"
    return Met(
        trouble=trouble,
        issuer=issuer,
        begins_at=certificate.not_valid_before_utc.timestamp(),
        ends_at=certificate.not_valid_after_utc.timestamp(),
    )


def _context() -> ssl.SSLContext:
    """Return a context that takes every certificate: what it says is the question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
