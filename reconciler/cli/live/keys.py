"""Decode the bytes a terminal sends into the names of keys."""

import re
from collections.abc import Mapping

_NAMED: Mapping[str, str] = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1b[F": "end", "\x1bOH": "home", "\x1bOF": "end", "\x1b[1~": "home", "\x1b[4~": "end",
    "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace", "\x1b": "esc",
    "\x03": "ctrl-c", "\x15": "ctrl-u",
}  # fmt: skip
# ECMA-48: a sequence that begins with ESC [ ends with a letter or ~; ESC O is followed by one letter.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[A-Za-z]|[^\x1b]|\x1b(?![\[O])")
_BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")


class Keys:
    """Decode typed bytes; a key that takes several bytes may arrive in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def waiting(self) -> bool:
        """True while the last bytes are the beginning of a key, or Esc alone."""
        return bool(self._rest)

    def feed(self, sent: bytes) -> list[str]:
        """Return the keys that are complete, each by its name or as its character; keys with neither are dropped."""
        text, self._rest = _split(self._rest + sent)
        if begun := _BEGUN.search(text):
            text, self._rest = text[: begun.start()], begun[0].encode() + self._rest
        return _named(text)

    def flush(self) -> list[str]:
        """Return what the last bytes stand for if no more follow."""
        rest, self._rest = self._rest, b""
        return ["esc"] if rest == b"\x1b" else []


def _named(text: str) -> list[str]:
    keys = [_NAMED.get(found[0], found[0]) for found in _KEY.finditer(text)]
    return [key for key in keys if key in _NAMED.values() or (len(key) == 1 and key.isprintable())]


def _split(sent: bytes) -> tuple[str, bytes]:
    """Return the text, and the first bytes of a character that is still incomplete."""
    for incomplete in range(min(3, len(sent)) + 1):
        complete, rest = sent[: len(sent) - incomplete], sent[len(sent) - incomplete :]
        try:
            return complete.decode(), rest
        except UnicodeDecodeError:
            continue
    return sent.decode("utf-8", "ignore"), b""
