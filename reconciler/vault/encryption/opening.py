"""Open an encrypted file in memory: with this host's identities, and else with the program that its settings name."""

import os
from collections.abc import Sequence
from pathlib import Path

from reconciler.vault.encryption import age, program
from reconciler.vault.encryption.age import CannotOpen, NotForUs
from reconciler.vault.encryption.identities import NoPackage, identities_of, identity_files
from reconciler.vault.encryption.recognition import Encryption
from reconciler.vault.encryption.sops import document
from reconciler.vault.encryption.sops.formats import Format, format_of

NAMES = {Encryption.AGE: "age", Encryption.SOPS: "SOPS"}


def opened(
    file: Path, content: bytes, encryption: Encryption, identities: Sequence[Path], words: Sequence[str]
) -> tuple[bytes, Format | None]:
    """Return what an encrypted file holds, and its format if it is a document of SOPS. Raises CannotOpen; blocks.

    `identities` are the files of the settings, and `words` the program's, none if there is none.
    """
    try:
        known = identities_of(identity_files(identities, os.environ))
        if encryption is Encryption.AGE:
            return age.opened(content, known), None
        return document.opened(file.name, _text(content), known)
    except (NotForUs, NoPackage) as error:
        if words and encryption is Encryption.SOPS:
            return program.opened(words, file), format_of(file.name, _text(content))
        if isinstance(error, NoPackage):
            raise CannotOpen(f"it is encrypted with {NAMES[encryption]}, which needs a package; {error}") from None
        raise
    except RecursionError:
        raise CannotOpen("it is nested too deeply") from None


def recipients_of(name: str, content: bytes, encryption: Encryption) -> tuple[str, ...]:
    """Return to whom a file of a name is encrypted, in words. Raises CannotOpen."""
    if encryption is Encryption.AGE:
        return age.recipients_of(content)
    return document.recipients_of(name, _text(content))


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CannotOpen("it has values that SOPS encrypted, and is not UTF-8 text") from None
