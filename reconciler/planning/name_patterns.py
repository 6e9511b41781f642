"""Choose apps and services by names and by patterns such as 'shop-*'. Pure.

A word is a name, or a pattern of fnmatch; `service/` before it means services. Every word has to match something.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from reconciler.planning.subject import Subject, SubjectKind

SERVICE_PREFIX = "service/"
_MAGIC = frozenset("*?[")


class NoMatch(ValueError):
    """Words that choose nothing, each with the question whether another name was meant, "" if none is like it."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        super().__init__(self.told())

    def told(self, otherwise: str = "", having: str = "") -> str:
        """Return the message; `having` says what no such name has, `otherwise` what to do if no word is like a name."""
        what = [f"{_nothing(word, having)}{f'; {hint}' if hint else ''}" for word, hint in self._words.items()]
        return "; ".join([*what, otherwise] if otherwise and not any(self._words.values()) else what)


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
        raise NoMatch({word: likely(word, known) for word in missing})
    return tuple(dict.fromkeys(subject for word in words for subject in found[word]))


def likely(word: str, known: Iterable[Subject]) -> str:
    """Ask whether the closest known name was meant by a word that chooses nothing; "" if none is like it."""
    import difflib

    kind, name = _parts(word)
    names = [subject.name for subject in known if subject.kind == kind]
    bare = "".join(character for character in name if character not in _MAGIC)
    close = difflib.get_close_matches(bare, names, n=1)
    prefix = SERVICE_PREFIX if kind == "service" else ""
    return f"did you mean '{prefix}{close[0]}'?" if close else ""


def _nothing(word: str, having: str) -> str:
    """Say that a word chooses nothing."""
    kind, name = _parts(word)
    if not is_pattern(name):
        return f"no {kind} named '{name}'{having}"
    return f"no {kind} that matches '{name}'{having}" if having else f"no {kind} matches '{name}'"


def _parts(word: str) -> tuple[SubjectKind, str]:
    """Return what kind of thing a word chooses, and the name or pattern in it."""
    return "service" if word.startswith(SERVICE_PREFIX) else "app", word.removeprefix(SERVICE_PREFIX)
