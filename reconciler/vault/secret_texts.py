"""Secrets in every form in which they may turn up in a text, and texts without them.

The forms are made once for a set of secrets; each text is then read once for each form.
"""

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from reconciler.vault.secret import HIDDEN

# A shorter value is found in innocent words, and hiding it there would say what it is.
SHORTEST = 4
# A part of a secret is told from an innocent word by more letters than a whole one.
_SHORTEST_PART = 8
_MOST_FORMS = 5000
_ESCAPED_BYTE = re.compile("%[0-9A-F]{2}")
_BREAK = re.compile(r"(?:(?<![ \t])[ \t]+)?\r?\n[ \t]*")


class SecretTexts:
    """Secrets to hide: as they are, quoted for a URL or in JSON or Python, line by line, and cut off at the end."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = _longest_first({form for secret in secrets for form in _forms(secret) if form not in HIDDEN})

    def __or__(self, other: "SecretTexts") -> "SecretTexts":
        both = SecretTexts(())
        both._forms = _longest_first({*self._forms, *other._forms})
        return both

    def __bool__(self) -> bool:
        return bool(self._forms)

    def hidden(self, text: str) -> str:
        """Return the text without the secrets."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        if "\n" in text:
            text = self._without_broken(text)
        return self._without_end(text)

    def _without_broken(self, text: str) -> str:
        """Hide secrets that a line break of the text, with its indentation, splits."""
        pieces: list[str] = []
        places: list[int] = []
        position = 0
        for found in _BREAK.finditer(text):
            pieces.append(text[position : found.start()])
            places.extend(range(position, found.start()))
            position = found.end()
        joined = "".join((*pieces, text[position:]))
        places.extend(range(position, len(text)))
        spans = []
        for form in self._forms:
            at = joined.find(form) if len(form) >= _SHORTEST_PART else -1
            while at >= 0:
                spans.append((places[at], places[at + len(form) - 1] + 1))
                at = joined.find(form, at + len(form))
        for first, last in sorted(spans, reverse=True):
            text = text[:first] + HIDDEN + text[last:] if HIDDEN not in text[first:last] else text
        return text

    def _without_end(self, text: str) -> str:
        """Hide the beginning of a secret at the end of a text that was cut off in it."""
        for form in self._forms:
            at = text.rfind(form[:_SHORTEST_PART], max(0, len(text) - len(form)))
            if at >= 0 and len(form) > _SHORTEST_PART and form.startswith(text[at:]):
                return text[:at] + HIDDEN
        return text


def _longest_first(forms: set[str]) -> list[str]:
    return sorted(forms, key=len, reverse=True)[:_MOST_FORMS]


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < SHORTEST:
        return
    lines = [line.strip() for line in secret.splitlines()]
    parts = [line for line in lines if len(line) >= _SHORTEST_PART and "-----" not in line] if len(lines) > 1 else []
    for text in {secret, secret.strip(), *parts}:
        yield text
        for quoted in (quote(text, safe=""), quote(text), quote_plus(text)):
            yield quoted
            yield _ESCAPED_BYTE.sub(lambda found: found[0].lower(), quoted)
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(text)[1:-1]
        yield repr(text.encode(errors="replace"))[2:-1]
