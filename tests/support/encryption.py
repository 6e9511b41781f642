"""A host that opens encrypted files, and files that are encrypted to it."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrage

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


def encrypted(text: str, recipients: Sequence[str], *, armored: bool = False) -> bytes:
    """Encrypt a text with age."""
    kinds = [(pyrage.ssh if each.startswith("ssh-") else pyrage.x25519, each) for each in recipients]
    found = [kind.Recipient.from_str(each) for kind, each in kinds]
    return bytes(pyrage.encrypt(text.encode(), found, armored=armored))
