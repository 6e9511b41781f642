"""A private authority, and what it vouches for: a certificate for localhost and 127.0.0.1, or more, for one test."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """`certificate` is what those trust who trust it; `vouched` holds a server's certificate and its key."""

    certificate: Path
    vouched: Path

    @property
    def serving(self) -> ssl.SSLContext:
        """What a server does TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.vouched)
        return context


def made_in(directory: Path, *addresses: str, ended: bool = False) -> Authority:
    """Make one, whose certificate is also for other addresses; what it vouches for may have ended."""
    ours, theirs = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    us, them = _named("an authority of these tests"), _named("localhost")
    at = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", *addresses)]
    local = x509.SubjectAlternativeName([x509.DNSName("localhost"), *at])
    vouches = x509.BasicConstraints(ca=True, path_length=None)
    signs = x509.KeyUsage(**dict.fromkeys(_OTHER_USES, False), key_cert_sign=True, crl_sign=True)
    root = _about(us, us, ours).add_extension(vouches, critical=True).add_extension(signs, critical=True)
    leaf = _about(them, us, theirs, ended=ended).add_extension(local, critical=False)
    (directory / "ca.pem").write_bytes(_pem(root.sign(ours, hashes.SHA256())))
    key = theirs.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "vouched.pem").write_bytes(key + _pem(leaf.sign(ours, hashes.SHA256())))
    return Authority(certificate=directory / "ca.pem", vouched=directory / "vouched.pem")


_OTHER_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "encipher_only", "decipher_only"),
)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _about(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, ended: bool = False
) -> x509.CertificateBuilder:
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC) - (2 * day if ended else dt.timedelta())
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
