"""A plain YAML scalar's text in, its value out, by the core schema of YAML 1.2.

So `yes`, `on` and `12:30` are text, as editors show them, and only `true` and `false` are truth values. Numbers that
Python could only hold by losing something stay text.
"""

import math
import re

from reconciler.planning.fingerprint import Json

_WORDS: dict[str, Json] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,4})?")
_NUMBER_STARTS = frozenset("+-.0123456789")


def value_of(text: str) -> Json:
    """What the unquoted `text` means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
