"""Write text as a YAML scalar that every reader takes for that text: YAML 1.1 and 1.2, editors, this package."""

import json
import re

import yaml

from reconciler.documents.scalars import value_of

# Letters that no context gives a meaning. A space only between words: at an end it would be lost.
_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[\w./@+=~%:-]| (?=[A-Za-z0-9_./]))*(?<!:)")
# What readers of YAML 1.1 or 1.2 take for no text, and PyYAML does not.
_NO_TEXT = re.compile(r"[yYnN]|0o[0-7]+|[-+]?[0-9][0-9_]*(?::[0-9]{1,2})+(?:\.[0-9]*)?")


def scalar(text: str, style: str | None = None, *, in_flow: bool = False) -> str:
    r"""Return the text as a scalar on one line: plain where that is safe, otherwise in quotes.

    `style` is the quotation mark of the scalar that it replaces, which it keeps where it can. In braces and brackets
    (`in_flow`), fewer texts can be plain.

    >>> scalar("info"), scalar("3.10"), scalar("a: b"), scalar("it's", "'")
    ('info', '"3.10"', '"a: b"', "'it''s'")
    """
    if style not in ("'", '"') and _is_plain(text, in_flow=in_flow):
        return text
    single = style == "'" or (style != '"' and ('"' in text or "\\" in text))
    if single and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return "".join(c if c.isprintable() else _escaped(c) for c in json.dumps(text, ensure_ascii=False))


def _is_plain(text: str, *, in_flow: bool) -> bool:
    if _PLAIN.fullmatch(text) is None or not text.isprintable() or (in_flow and ":" in text) or ": " in text:
        return False
    if value_of(text) != text or _NO_TEXT.fullmatch(text):
        return False
    by_first = yaml.SafeLoader.yaml_implicit_resolvers
    return not any(pattern.match(text) for first in (text[0], None) for _, pattern in by_first.get(first, ()))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
