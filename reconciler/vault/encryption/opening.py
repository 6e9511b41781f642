"""Open an encrypted file in memory: with this host's identities, and else with the program that its settings name."""

import os
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.vault.encryption import age, program
from reconciler.vault.encryption.age import CannotOpen, NotForUs
from reconciler.vault.encryption.identities import NoPackage, identities_of, identity_files
from reconciler.vault.encryption.recognition import Encryption
from reconciler.vault.encryption.sops import document
from reconciler.vault.encryption.sops.formats import Format, Tree, fields_of, format_of, trees_in

NAMES = {Encryption.AGE: "age", Encryption.SOPS: "SOPS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an encrypted file holds, and of a document of SOPS its format, and its trees if these are known."""

    content: bytes = field(repr=False)
    form: Format | None = None
    trees: Sequence[Tree] | None = field(default=None, repr=False)

    @property
    def has_fields(self) -> bool:
        """Whether it is a document of fields, such as one of YAML."""
        return self.form in {Format.YAML, Format.JSON}

    def fields(self) -> Tree:
        """Return the fields of such a document. Raises CannotOpen."""
        assert self.form is not None
        try:
            return fields_of(trees_in(self.form, _text(self.content)) if self.trees is None else self.trees)
        except RecursionError:
            raise CannotOpen("it is nested too deeply") from None


def opened(
    file: Path, content: bytes, encryption: Encryption, identities: Sequence[Path], words: Sequence[str]
) -> Opened:
    """Return what an encrypted file holds. Raises CannotOpen; blocks.

    `identities` are the files of the settings, and `words` the program's, none if there is none.
    """
    try:
        known = identities_of(identity_files(identities, os.environ))
        if encryption is Encryption.AGE:
            return Opened(content=age.opened(content, known))
        plain, form, trees = document.opened(file.name, _text(content), known)
        return Opened(content=plain, form=form, trees=trees)
    except (NotForUs, NoPackage) as error:
        if words and encryption is Encryption.SOPS:
            return Opened(content=program.opened(words, file), form=format_of(file.name, _text(content)))
        if isinstance(error, NoPackage):
            raise CannotOpen(f"it is encrypted with {NAMES[encryption]}, which needs a package; {error}") from None
        raise
    except RecursionError:
        raise CannotOpen("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise CannotOpen("it has text with half of a character") from None


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
