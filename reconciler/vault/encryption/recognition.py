"""Recognise files that age or SOPS encrypted by what is in them. Nothing is loaded for a plain file.

A file that was encrypted and cut short, or whose name says that it is encrypted, never passes for a plain one.
"""

from enum import StrEnum, auto

_AGE = b"age-encryption.org/"
_ARMORED = b"-----BEGIN AGE ENCRYPTED FILE-----"
_SEALED = b"ENC[AES256_GCM,"  # in every document of SOPS: its MAC is such a value, too
_LEAST = 8  # so many bytes of the first line are no coincidence


class Encryption(StrEnum):
    """What encrypted a file."""

    AGE = auto()
    SOPS = auto()


def encryption_of(content: bytes) -> Encryption | None:
    """Return what encrypted a file of this content, None for a plain one."""
    start = content.lstrip()[: len(_ARMORED)]
    if content.startswith(_AGE) or start.startswith(_ARMORED) or _is_beginning(start):
        return Encryption.AGE
    return Encryption.SOPS if _SEALED in content else None


def unencrypted(name: str) -> str:
    """Return why a plain file of this name is refused, "" if it is not: the name says that it is encrypted."""
    if name.endswith(".age"):
        return "its name ends in .age, and it is not encrypted with age; encrypt it, or rename it"
    if ".sops." in name or name.endswith(".sops"):
        return "its name has .sops in it, and SOPS did not encrypt it; encrypt it, or rename it"
    return ""


def _is_beginning(start: bytes) -> bool:
    return len(start) >= _LEAST and (_AGE.startswith(start) or _ARMORED.startswith(start))
