"""The source of an app in a git repository, as its manifest names it: what is followed there, and which directory."""

import hashlib
import re
from functools import cache

from reconciler.linux.dataclass import dataclass

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHORT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A branch, a tag or a commit of a repository; the others are empty.

    With `signed`, the signature of the tag counts in place of those of commits.
    """

    repository: str
    branch: str = ""
    tag: str = ""
    commit: str = ""
    signed: bool = False

    @property
    def name(self) -> str:
        """The name of it on this host, which can be that of a file: `shop-code@main`, `shop-code@tag=v1.4`."""
        return _name(self)

    @property
    def text(self) -> str:
        """What is followed, in an operator's words."""
        what = self.branch or self.tag or f"commit {self.commit[:_SHORT]}"
        return f"{what} of {self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """A directory of what is followed; `path` is relative to the top, which is ""."""

    followed: Followed
    path: str = ""


@cache
def _name(followed: Followed) -> str:
    kind, text = next((kind, text) for kind, text in _parts(followed) if text)
    signed = ",signed" if followed.signed else ""
    return f"{followed.repository}@{kind}{_file_name(text)}{signed}"


def _parts(followed: Followed) -> tuple[tuple[str, str], ...]:
    return ("", followed.branch), ("tag=", followed.tag), ("commit=", followed.commit)


def _file_name(text: str) -> str:
    """Return a text as a part of a file name and of git's references, unlike that of any other text."""
    if _PLAIN.fullmatch(text) and ".." not in text and not text.endswith((".", ".lock")):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9_-]', '-', text)[:60]}+{digest}"
