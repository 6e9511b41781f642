"""Bytes that a terminal sends in, names of keys out."""

import re
from collections.abc import Mapping

_NAMED: Mapping[str, str] = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1b[F": "end", "\x1bOH": "home", "\x1bOF": "end", "\x1b[1~": "home", "\x1b[4~": "end",
    "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace", "\x1b": "esc",
    "\x03": "ctrl-c", "\x15": "ctrl-u",
}  # fmt: skip
# ECMA-48: what begins with ESC [ ends with a letter or ~; with ESC O one letter follows.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[A-Za-z]|[^\x1b]|\x1b(?![\[O])")
_BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")


class Keys:
    """Collects what was typed; a key that needs several bytes may come in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def waiting(self) -> bool:
        """True while what came last is the beginning of a key, or Esc alone."""
        return bool(self._rest)

    def typed(self, sent: bytes) -> list[str]:
        """The keys that are whole now. A key without a name is its character, or nothing when it has none."""
        text, self._rest = _split(self._rest + sent)
        if begun := _BEGUN.search(text):
            text, self._rest = text[: begun.start()], begun[0].encode() + self._rest
        return _named(text)

    def over(self) -> list[str]:
        """Nothing follows: what was begun is as whole as it gets."""
        rest, self._rest = self._rest, b""
        return ["esc"] if rest == b"\x1b" else []


def _named(text: str) -> list[str]:
    keys = [_NAMED.get(found[0], found[0]) for found in _KEY.finditer(text)]
    return [key for key in keys if key in _NAMED.values() or (len(key) == 1 and key.isprintable())]


def _split(sent: bytes) -> tuple[str, bytes]:
    """The text, and a character's first bytes that the rest of has not come of yet."""
    for kept in range(min(3, len(sent)) + 1):
        whole, rest = sent[: len(sent) - kept], sent[len(sent) - kept :]
        try:
            return whole.decode(), rest
        except UnicodeDecodeError:
            continue
    return sent.decode("utf-8", "ignore"), b""
