"""Read the identities of this host: the private keys that open files encrypted to it. They never leave the memory.

A file holds age's own keys, one a line, or one private key of ssh.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import read_file

# The credentials of systemd that are identities: `LoadCredential=age-identity:/etc/reconciler/age.txt`.
CREDENTIAL = "age-identity"
_MOST_OF_A_FILE = 64 * 1024
_MOST_OF_A_FOLDER = 100
_OTHERS = 0o007
_SSH = (b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----BEGIN RSA PRIVATE KEY-----", b"-----BEGIN PRIVATE KEY-----")
_OWN, _POST_QUANTUM, _PLUGIN = "AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1", "AGE-PLUGIN-"

MISSING = "pip install 'reconciler[secrets]', then restart the daemon"


class NoPackage(Exception):
    """The package that opens age files is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One private key, by the recipient that files are encrypted to. `key` is what age's library decrypts with."""

    recipient: str
    file: Path
    key: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """The identities of this host, and why files of such cannot be used."""

    known: tuple[Identity, ...] = ()
    problems: tuple[str, ...] = ()

    def recipients(self) -> str:
        """Return what to encrypt to so that this host can open it."""
        return ", ".join(dict.fromkeys(shortened(each.recipient) for each in self.known))

    def in_words(self) -> str:
        """Return what this host opens files with, as the end of a sentence; no private part of it."""
        if self.known:
            return f"this host has {self.recipients()}"
        if self.problems:
            return f"this host has no identity that can be used: {'; '.join(self.problems)}"
        return "this host has no identity; name one in 'git.identities' of the host's settings"


def identity_files(given: Iterable[Path], environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files of the settings, and those that systemd handed to this service."""
    return (*given, *_credentials(environ.get("CREDENTIALS_DIRECTORY", "")))


def identities_of(files: Iterable[Path]) -> Identities:
    """Read the identities in files. Raises NoPackage; a file that cannot be used is told, and the others count."""
    known: list[Identity] = []
    problems: list[str] = []
    for file in files:
        library()
        try:
            known += _read(file)
        except _Unfit as error:
            problems.append(str(error))
    return Identities(known=tuple(known), problems=tuple(problems))


def shortened(recipient: str) -> str:
    """Return a recipient as messages name it: age's own whole, a key of ssh by its type and its end."""
    kind, _, rest = recipient.partition(" ")
    return f"{kind} …{rest.split(' ')[0][-12:]}" if rest else recipient


def library() -> Any:
    """Return age's library. Raises NoPackage."""
    try:
        import pyrage
    except ImportError:
        raise NoPackage(MISSING) from None
    return pyrage


class _Unfit(Exception):
    """A file is no identity; says why."""


def _credentials(directory: str) -> Iterator[Path]:
    if not directory:
        return
    try:
        names = sorted(os.listdir(directory))[:_MOST_OF_A_FOLDER]  # noqa: PTH208  names
    except OSError:
        return
    yield from (Path(directory, name) for name in names if name.startswith(CREDENTIAL))


def _read(file: Path) -> tuple[Identity, ...]:
    try:
        content = read_file(file, _MOST_OF_A_FILE)
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        raise _Unfit(f"cannot read the identity {file}: {in_words(error)}") from None
    if mode & _OTHERS:
        raise _Unfit(f"other users may read the identity {file}: run chmod o= on it")
    return _parsed(file, content)


@lru_cache(maxsize=16)  # a key of RSA takes 40 ms, and opens many files
def _parsed(file: Path, content: bytes) -> tuple[Identity, ...]:
    age = library()
    if content.lstrip().startswith(_SSH):
        return (_ssh_identity(age, file, content),)
    lines = [line.strip() for line in content.decode("utf-8-sig", "replace").splitlines()]
    given = [(number, text) for number, text in enumerate(lines, 1) if text and not text.startswith("#")]
    if not given:
        raise _Unfit(f"there is no identity in {file}; 'age-keygen -o {file}' writes one")
    return tuple(_own_identity(age, file, number, text) for number, text in given)


def _own_identity(age: Any, file: Path, number: int, text: str) -> Identity:
    if text.startswith(_POST_QUANTUM):
        raise _Unfit(f"{file}:{number}: is a post-quantum identity, which is not supported")
    if text.startswith(_PLUGIN):
        raise _Unfit(f"{file}:{number}: is an identity of a plugin, which is not supported")
    try:
        key = age.x25519.Identity.from_str(text)
    except age.IdentityError:  # what it says may quote the line
        raise _Unfit(f"{file}:{number}: expected {_OWN}…, or one private key of ssh") from None
    return Identity(recipient=str(key.to_public()), file=file, key=key)


def _ssh_identity(age: Any, file: Path, content: bytes) -> Identity:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        load = (
            serialization.load_ssh_private_key
            if b"OPENSSH" in content.lstrip()[:32]
            else serialization.load_pem_private_key
        )
        public = load(content, None).public_key()
        written = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return Identity(recipient=written.decode(), file=file, key=age.ssh.Identity.from_buffer(content))
    except TypeError:
        raise _Unfit(f"the private key {file} has a passphrase: use one without, for this host alone") from None
    except (ValueError, UnsupportedAlgorithm, AttributeError, age.IdentityError):
        raise _Unfit(f"{file} is no private key of ssh that age uses: expected ed25519 or rsa") from None
