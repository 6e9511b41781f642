"""Parse the name of an image in a registry, `HOST[:PORT]/REPOSITORY[:TAG]`, and say what is wrong with another."""

import re

from reconciler.linux.dataclass import dataclass
from reconciler.staging.errors import StagingError

_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,39}\])(?::[0-9]{1,5})?")
_LONGEST = 255
_EXPECTED = "expected HOST[:PORT]/REPOSITORY[:TAG], such as registry.example.com/web/shop:1"


class RegistryError(StagingError):
    """A registry could not be used; the message says why, and names nothing secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A repository in a registry, and the tag that an image there is to have, "" for none."""

    registry: str
    repository: str
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"


def reference_of(text: str) -> Reference:
    """Parse the name of an image. Raises RegistryError."""
    registry, slash, rest = text.partition("/")
    if "://" in text:
        raise RegistryError(f"'{text}' begins with a scheme: {_EXPECTED}")
    if "@" in text:
        raise RegistryError(f"'{text}' has a digest, which the image has by itself: {_EXPECTED}")
    if not slash or not _HOST.fullmatch(registry) or not (set(registry) & set(".:") or registry == "localhost"):
        raise RegistryError(f"'{text}' does not begin with the host of a registry: {_EXPECTED}")
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise RegistryError(f"'{tag}' is no tag: {_EXPECTED}")
    return Reference(registry=registry, repository=repository_of(repository), tag=tag)


def repository_of(text: str) -> str:
    """Return the name of a repository. Raises RegistryError for what is none."""
    if len(text) > _LONGEST or not _REPOSITORY.fullmatch(text):
        raise RegistryError(f"'{text}' is no repository: it has lower case letters, digits, '.', '_', '-' and '/'")
    return text
