"""Decrypt the values of a document of SOPS, and compute the digest of all of them that its MAC has to hold.

Each value is bound to the path of its field. The digest is of the values in the order of the file; comments and nulls
are no part of it.
"""

import base64
import binascii
import hashlib
import hmac
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from reconciler.vault.encryption.age import CannotOpen
from reconciler.vault.encryption.sops.formats import Tree
from reconciler.vault.encryption.sops.rules import Rule, rule_of

_SEALED = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/=]*),iv:([A-Za-z0-9+/=]+),tag:([A-Za-z0-9+/=]+),type:([a-z0-9]+)\]"
)
# What the digest begins with if it is of encrypted values only: SHA-256 of "sops".
_ONLY_ENCRYPTED = hashlib.sha256(b"sops").digest()
_TAG, _LEAST_NONCE, _MOST_NONCE = 16, 8, 128
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_CHANGED = "it was changed after it was encrypted, or is cut short"


def opened(trees: Sequence[Tree], metadata: Mapping[str, Any], key: bytes) -> list[Tree]:
    """Return the trees with every value decrypted. Raises CannotOpen, also for a MAC that is not theirs; blocks."""
    values = _Values(key, rule_of(metadata), only_encrypted=metadata.get("mac_only_encrypted") in {True, "true"})
    found = [values.of(tree, ()) for tree in trees]
    mac = values.decrypted(str(metadata.get("mac") or ""), f"{metadata.get('lastmodified')}")
    if mac is None or not hmac.compare_digest(mac[0].upper(), values.digest()):
        raise CannotOpen(f"{_CHANGED}: its MAC is not that of its values")
    return found


class _Values:
    """The values of one document, one after the other."""

    def __init__(self, key: bytes, rule: Rule | None, *, only_encrypted: bool) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(key) != 32:
            raise CannotOpen("its data key has not the length of one of SOPS")
        self._cipher = AESGCM(key)
        self._rule = rule
        self._only_encrypted = only_encrypted
        self._hash = hashlib.sha512(_ONLY_ENCRYPTED if only_encrypted else b"")

    def digest(self) -> bytes:
        """Return the digest of all values so far, as SOPS writes it."""
        return self._hash.hexdigest().upper().encode()

    def of(self, node: Any, path: tuple[str, ...]) -> Any:
        """Return a value with all below it decrypted."""
        if isinstance(node, dict):
            return {key: self.of(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self.of(item, path) for item in node]  # items have the path of their list
        return None if node is None else self._leaf(node, path)

    def _leaf(self, value: Any, path: tuple[str, ...]) -> Any:
        is_sealed = isinstance(value, str) and value.startswith("ENC[")
        encrypted = is_sealed if self._rule is None else self._rule(path)
        if not encrypted:
            if not self._only_encrypted:
                self._hash.update(_as_bytes(value))
            return value
        if value == "":  # SOPS leaves an empty text as it is
            return value
        found = self.decrypted(value, ":".join(path) + ":") if isinstance(value, str) else None
        if found is None:
            raise CannotOpen(f"{_CHANGED}: {_named(path)} is not encrypted as its rule asks")
        content, kind = found
        plain = _typed(content, kind, path)
        self._hash.update(content if isinstance(plain, str) else _as_bytes(plain))
        return plain

    def decrypted(self, text: str, bound_to: str) -> tuple[bytes, str] | None:
        """Return a value and its type, None if the text is no encrypted one. Raises CannotOpen."""
        from cryptography.exceptions import InvalidTag

        sealed = _SEALED.fullmatch(text)
        if sealed is None:
            return None
        try:
            data, nonce, tag = (base64.b64decode(part, validate=True) for part in sealed.groups()[:3])
        except binascii.Error:
            return None
        if len(tag) != _TAG or not _LEAST_NONCE <= len(nonce) <= _MOST_NONCE:
            return None
        try:
            return self._cipher.decrypt(nonce, data + tag, bound_to.encode("utf-8", "surrogatepass")), sealed[4]
        except InvalidTag:
            what = _named(tuple(bound_to.split(":")[:-1])) if bound_to.endswith(":") else "its MAC"
            raise CannotOpen(f"{_CHANGED}: {what} is not what was encrypted there") from None


def _typed(content: bytes, kind: str, path: tuple[str, ...]) -> Any:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise CannotOpen(f"{_named(path)} is not UTF-8 text") from None
    try:
        match kind:
            case "str" | "bytes" | "time":
                return text
            case "int" | "int64":
                return int(text[:20])
            case "float":
                return _whole(float(text[:400]))
            case "bool":
                return _BOOLEANS[text]
    except (ValueError, KeyError):
        pass
    raise CannotOpen(f"{_named(path)} has a type that is not known here")


def _whole(number: float) -> int | float:
    """Return a number of JSON as it was written: SOPS takes every one for a float."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _as_bytes(value: Any) -> bytes:
    """Return a value as SOPS digests it, which is as Go writes it."""
    if isinstance(value, bool):
        return b"True" if value else b"False"
    if isinstance(value, float):
        if not math.isfinite(value):
            return b"NaN" if math.isnan(value) else b"+Inf" if value > 0 else b"-Inf"
        written = format(Decimal(repr(value)), "f")
        return (written.rstrip("0").rstrip(".") if "." in written else written).encode()
    return str(value).encode("utf-8", "surrogateescape")


def _named(path: Sequence[str]) -> str:
    name = ".".join(path)
    return f"'{name}'" if name.isprintable() and len(name) < 100 else "a value"
