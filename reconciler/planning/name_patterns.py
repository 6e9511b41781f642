"""Choose apps and services by names and by patterns such as 'shop-*'. Pure.

A word is a name, or a pattern of fnmatch; `service/` before it means services. Every word has to match something.
"""

from collections.abc import Collection, Iterable, Sequence

from reconciler.planning.subject import Subject, SubjectKind

_SERVICE = "service/"
_MAGIC = frozenset("*?[")


class NoMatch(ValueError):
    """A word that matches nothing; the message names what was probably meant."""


def is_pattern(word: str) -> bool:
    """Return whether a word may choose more than the one that has it as a name."""
    return not _MAGIC.isdisjoint(word)


def matches(word: str, subject: Subject) -> bool:
    """Return whether a word is the name of an app or a service, or a pattern of it."""
    import fnmatch  # what names no pattern need not load it

    kind, name = _parts(word)
    return subject.kind == kind and fnmatch.fnmatchcase(subject.name, name)


def chosen(words: Sequence[str], known: Collection[Subject]) -> tuple[Subject, ...]:
    """Return what the words choose, each once, in the order of the words and then by name.

    Raises NoMatch for the words that choose nothing.
    """
    ordered = sorted(known, key=str)
    found = {word: [subject for subject in ordered if matches(word, subject)] for word in words}
    if missing := [word for word, subjects in found.items() if not subjects]:
        raise NoMatch("; ".join(no_match(word, known) for word in dict.fromkeys(missing)))
    return tuple(dict.fromkeys(subject for word in words for subject in found[word]))


def no_match(word: str, known: Iterable[Subject]) -> str:
    """Say that a word chooses nothing, and what was probably meant."""
    kind, name = _parts(word)
    hint = likely(word, known)
    what = f"no {kind} matches" if is_pattern(name) else f"no {kind} named"
    return f"{what} '{name}'{f'; {hint}' if hint else ''}"


def likely(word: str, known: Iterable[Subject]) -> str:
    """Ask whether the closest known name was meant by a word that chooses nothing; "" if none is like it."""
    import difflib

    kind, name = _parts(word)
    names = [subject.name for subject in known if subject.kind == kind]
    bare = "".join(character for character in name if character not in _MAGIC)
    close = difflib.get_close_matches(bare, names, n=1)
    prefix = _SERVICE if kind == "service" else ""
    return f"did you mean '{prefix}{close[0]}'?" if close else ""


def _parts(word: str) -> tuple[SubjectKind, str]:
    """Return what kind of thing a word chooses, and the name or pattern in it."""
    return "service" if word.startswith(_SERVICE) else "app", word.removeprefix(_SERVICE)
