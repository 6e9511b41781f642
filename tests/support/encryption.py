"""A host that opens encrypted files, and files that are encrypted to it."""

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from reconciler.vault.encryption.sops.formats import Format, written
from reconciler.vault.secret_reader import SecretReader

# To which the samples of `tests/corpus/encrypted` are encrypted; whatever else is, is public.
IDENTITY = Path(__file__).with_name("identity.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the settings of a host say of encrypted files."""

    identities: tuple[Path, ...] = ()
    open_command: tuple[str, ...] = ()
    unopened: tuple[Path, ...] = ()

    @property
    def reader(self) -> SecretReader:
        return SecretReader(self)


def an_identity(file: Path) -> str:
    """Write a new identity, as age-keygen does; returns its recipient."""
    key = pyrage.x25519.Identity.generate()
    write_private(file, f"# public key: {key.to_public()}\n{key}\n")
    return str(key.to_public())


def a_key_of_ssh(file: Path, kind: str) -> str:
    """Have a key of ssh written; returns its recipient."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "web1", "-f", str(file)]
    subprocess.run([*command, *(["-b", "2048"] if kind == "rsa" else [])], check=True, stdin=subprocess.DEVNULL)
    return file.with_name(f"{file.name}.pub").read_text().strip()


def write_private(file: Path, text: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:  # noqa: PTH123
        written.write(text)


def encrypted(content: str | bytes, recipients: Sequence[str], *, armored: bool = False) -> bytes:
    """Encrypt a text, or bytes, with age."""
    kinds = [(pyrage.ssh if each.startswith("ssh-") else pyrage.x25519, each) for each in recipients]
    found = [kind.Recipient.from_str(each) for kind, each in kinds]
    plain = content if isinstance(content, bytes) else content.encode()
    return bytes(pyrage.encrypt(plain, found, armored=armored))


def a_document(name: str, fields: Mapping[str, Any], recipient: str) -> bytes:
    """Return fields of text, bytes and whole numbers as SOPS encrypts them, as YAML or JSON by the file's name."""
    key, digest = os.urandom(32), hashlib.sha512()

    def sealed(text: bytes, kind: str, bound_to: str) -> str:
        nonce = os.urandom(32)
        whole = AESGCM(key).encrypt(nonce, text, bound_to.encode())
        data, iv, tag = (base64.b64encode(part).decode() for part in (whole[:-16], nonce, whole[-16:]))
        return f"ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:{kind}]"

    def leaf(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            return {name: leaf(part, (*path, name)) for name, part in value.items()}
        text = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        digest.update(text)
        if path[-1].endswith("_unencrypted") or value == "":
            return value
        return sealed(text, "int" if isinstance(value, int) else "str", ":".join(path) + ":")

    tree = {field: leaf(value, (field,)) for field, value in fields.items()}
    now = "2026-11-26T00:00:00Z"
    enc = encrypted(key, [recipient], armored=True).decode()
    mac = sealed(digest.hexdigest().upper().encode(), "str", now)
    tree["sops"] = {"age": [{"recipient": recipient, "enc": enc}], "lastmodified": now, "mac": mac}
    return json.dumps(tree).encode() if name.endswith(".json") else written(Format.YAML, [tree])
