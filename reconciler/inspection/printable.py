"""Any text in, the same for a screen out: nothing in it can move a cursor, colour, end or turn a line, or hide.

What an app, a manifest or a file's name says is shown, never obeyed. Marks that only shape the writing of a language
(joiners, variation selectors) stay.
"""

import json
import re
import shlex
from typing import Any

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: object) -> str:
    """Text with what cannot be seen made visible by its number, in hexadecimal; line breaks and tabs stay."""
    return _INVISIBLE.sub(_named, str(text).replace("\r\n", "\n"))


def quoted(text: str) -> str:
    r"""Text as a word that a shell reads back as it is; what cannot be seen, and line breaks, as bytes: $'\x1b'."""
    if not (_INVISIBLE.search(text) or "\n" in text):
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{_INVISIBLE.sub(_bytes, plain)}'"


def json_text(facts: Any, indent: int | None = None) -> str:
    """Facts as JSON that reads back as they are; letters stay letters, and what cannot be seen is escaped."""
    return _INVISIBLE.sub(_escaped, json.dumps(facts, indent=indent, ensure_ascii=False))


def _named(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _bytes(found: "re.Match[str]") -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode(errors="surrogatepass"))


def _escaped(found: "re.Match[str]") -> str:
    return json.dumps(found[0])[1:-1]


def plain(text: object) -> str:
    """Text as it may be shown on one line: nothing in it can move the cursor, colour the line or turn its direction."""
    return visible(text).replace("\n", " ").replace("\t", " ")


def ago(seconds: float) -> str:
    """A span of time as a person would say it, in two units at most."""
    whole = max(0, round(seconds))
    for size, unit, smaller, sub in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}{rest}{sub}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def counted(number: int, noun: str) -> str:
    """`1 app`, `3 apps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
