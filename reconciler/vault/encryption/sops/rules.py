"""Decide which values of a document SOPS encrypted, by the rule in its metadata; the default is a suffix of names."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from reconciler.vault.encryption.age import CannotOpen
from reconciler.vault.encryption.sops.patterns import Pattern, UnknownPattern

# A path of field names in, and whether its value is encrypted out.
Rule: TypeAlias = Callable[[Sequence[str]], bool]

_DEFAULT_SUFFIX = "_unencrypted"
_RULES = (
    "unencrypted_suffix", "encrypted_suffix", "unencrypted_regex", "encrypted_regex",
    "unencrypted_comment_regex", "encrypted_comment_regex",
)  # fmt: skip


def rule_of(metadata: Mapping[str, Any]) -> Rule | None:
    """Return the rule of a document, None if comments decide, which is then seen by the values. Raises CannotOpen."""
    given = [name for name in _RULES if metadata.get(name)]
    if len(given) > 1:
        raise CannotOpen(f"its metadata of SOPS has two rules, {given[0]} and {given[1]}")
    name = given[0] if given else _RULES[0]
    text = str(metadata[name]) if given else _DEFAULT_SUFFIX
    if "comment" in name:
        return None
    matches = partial(_ends_with, text) if name.endswith("_suffix") else partial(_is_in, name, _pattern(name, text))
    encrypts = name.startswith("encrypted")
    return lambda path: any(map(matches, path)) is encrypts


def _ends_with(suffix: str, field: str) -> bool:
    return field.endswith(suffix)


def _is_in(name: str, pattern: Pattern, field: str) -> bool:
    try:
        return pattern.is_in(field)
    except UnknownPattern as error:
        raise _unusable(name, error) from None


def _pattern(name: str, text: str) -> Pattern:
    try:
        return Pattern(text)
    except UnknownPattern as error:
        raise _unusable(name, error) from None


def _unusable(name: str, error: UnknownPattern) -> CannotOpen:
    return CannotOpen(f"its {name} cannot be used: {error}; name a program in 'git.open' that opens it")
