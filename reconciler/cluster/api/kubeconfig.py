"""Read from a kubeconfig where the API server of a cluster is, whom to trust there, and how to say who asks.

It is read again for each connection, so a token or a certificate that was renewed is in use at once.
"""

import base64
import binascii
import contextlib
import ipaddress
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words

_MOST_BYTES = 1 << 20


class AccessError(Exception):
    """A kubeconfig cannot be used, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How an API server is reached; `path` begins every path, `trust` is None without TLS."""

    host: str
    port: int
    path: str = ""
    namespace: str = ""
    trust: ssl.SSLContext | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)


def access_of(file: Path, context: str = "") -> Access:
    """Return what a context of a kubeconfig says, its current one if none is named. Raises AccessError."""
    try:
        with file.open("rb") as opened:
            given = yaml.safe_load(opened.read(_MOST_BYTES))
    except (OSError, yaml.YAMLError) as error:
        raise AccessError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'it is no YAML'}") from error
    if not isinstance(given, dict):
        raise AccessError(f"{file} is no kubeconfig")
    chosen = _named(given, "context", context or str(given.get("current-context") or ""), file)
    cluster = _named(given, "cluster", str(chosen.get("cluster") or ""), file)
    user = _named(given, "user", str(chosen["user"]), file) if chosen.get("user") else {}
    if "exec" in user or "auth-provider" in user:
        raise AccessError(f"{file} has a user who is asked by a program: give one with a token or a certificate")
    split = urlsplit(str(cluster.get("server") or ""))
    if split.scheme not in {"http", "https"} or not split.hostname:
        raise AccessError(f"{file} names no server: expected https://HOST:PORT")
    token = _token(user, file)
    if token and split.scheme == "http" and not _is_loopback(split.hostname):
        raise AccessError(f"{file} would send a token to {split.hostname} unencrypted: give its server as https://")
    return Access(
        host=split.hostname,
        port=split.port or (443 if split.scheme == "https" else 80),
        path=split.path.rstrip("/"),
        namespace=str(chosen.get("namespace") or ""),
        trust=_trust(cluster, user, file) if split.scheme == "https" else None,
        token=token,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named(given: Mapping[str, Any], kind: str, name: str, file: Path) -> Mapping[str, Any]:
    for each in given.get(f"{kind}s") or ():
        if isinstance(each, dict) and each.get("name") == name and isinstance(each.get(kind), dict):
            found: Mapping[str, Any] = each[kind]
            return found
    raise AccessError(f"{file} has no {kind} '{name}'")


def _token(user: Mapping[str, Any], file: Path) -> str:
    if "tokenFile" in user:
        return _file(user, "tokenFile", file).decode(errors="replace").strip()
    return str(user.get("token") or "")


def _trust(cluster: Mapping[str, Any], user: Mapping[str, Any], file: Path) -> ssl.SSLContext:
    try:
        trust = ssl.create_default_context()
        if cluster.get("insecure-skip-tls-verify"):
            raise AccessError(f"{file} trusts any server: name its authority instead")
        authority = _given(cluster, "certificate-authority", file)
        if authority:
            trust = ssl.create_default_context(cadata=authority.decode("ascii"))
        certificate, key = _given(user, "client-certificate", file), _given(user, "client-key", file)
        if certificate and key:
            with _written(certificate) as chain, _written(key) as private:
                trust.load_cert_chain(chain, private)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise AccessError(f"{file} has a certificate or a key that cannot be used: {error}") from error
    return trust


def _given(part: Mapping[str, Any], name: str, file: Path) -> bytes:
    """Return what is in the kubeconfig itself, or in a file that it names; empty for neither."""
    if f"{name}-data" in part:
        try:
            return base64.b64decode(str(part[f"{name}-data"]), validate=True)
        except binascii.Error as error:
            raise AccessError(f"{file} has {name}-data that is not Base64") from error
    return _file(part, name, file) if name in part else b""


def _file(part: Mapping[str, Any], name: str, file: Path) -> bytes:
    path = file.parent / str(part[name])
    try:
        with path.open("rb") as opened:
            return opened.read(_MOST_BYTES)
    except OSError as error:
        raise AccessError(f"cannot read {path}, which {file} names: {in_words(error)}") from error


@contextlib.contextmanager
def _written(content: bytes) -> Iterator[str]:
    """Yield the name of a file of this user's alone, as ssl reads no bytes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
