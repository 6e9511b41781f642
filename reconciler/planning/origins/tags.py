"""Choose the newest of the tags that an origin follows, and notice one that was moved. Pure."""

import re
from collections.abc import Iterable
from typing import TypeAlias

_VERSION = re.compile(r"[vV]?(\d{1,18}(?:[._-]\d{1,18})*)(?:[._~-]?([A-Za-z][0-9A-Za-z._~-]*))?(?:\+.*)?", re.ASCII)
_PARTS = re.compile(r"\d{1,18}|[A-Za-z]+", re.ASCII)

_Key: TypeAlias = tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...], str]


def newest(names: Iterable[str], pattern: str) -> str | None:
    """Return the name with the highest version in place of the pattern's `*`, None if there is none.

    A name without a version there is no candidate. `1.10` is higher than `1.9`, and `1.10-rc1` is lower than `1.10`. A
    pattern without a `*` is the name itself.
    """
    if "*" not in pattern:
        return pattern if pattern in names else None
    before, _, after = pattern.partition("*")
    least = len(before) + len(after)
    fitting = (name for name in names if len(name) > least and name.startswith(before) and name.endswith(after))
    keys = [_key(name[len(before) : len(name) - len(after)], name) for name in fitting]
    return max((key for key in keys if key is not None), default=(None,))[-1]


def moved(tag: str, commit: str, accepted_tag: str, accepted: str | None) -> str:
    """Return why a tag that was accepted may not stand for another commit, "" if it does not."""
    if not tag or tag != accepted_tag or accepted is None or accepted == commit:
        return ""
    return (
        f"tag {tag} was moved from commit {accepted[:7]} to {commit[:7]}: give the other commit a tag of its own, or"
        " confirm it with 'reconciler git take'"
    )


def _key(version: str, name: str) -> _Key | None:
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    numbers = [int(part) for part in re.split(r"[._-]", match[1])]
    while numbers and numbers[-1] == 0:  # 1.2 is 1.2.0
        numbers.pop()
    parts = tuple((0, int(each), "") if each.isdigit() else (1, 0, each) for each in _PARTS.findall(match[2] or ""))
    return tuple(numbers), not parts, parts, name
