"""Parse TOML that users and tools wrote, in time and memory that grow with its length.

The parser looks at every beginning of a dotted key, so that one of a thousand parts takes minutes, and holds a kilobyte
for each table, so that a few megabytes of names of tables take gigabytes.
"""

import re
from typing import Any

from reconciler.staging.source import allowance

_MOST_PARTS = 64
_MOST_TABLES = 200_000
_MOST_KEYS = 500_000
_DEEPEST = 32
_PART = r"""(?:[\w-]++|"[^"\n]{0,200}+"|'[^'\n]{0,200}+')"""
_LONG_KEY = re.compile(rf"(?<![\w.-])(?:{_PART}[ \t]*+\.[ \t]*+){{{_MOST_PARTS},}}+")
# Text and comments, of which nothing is made, and each sign of which something is.
_SIGN = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*+(?:"""|\Z)'''
    r"""|'''(?:[^']++|'(?!''))*+(?:'''|\Z)"""
    r"""|"(?:[^"\\\n]++|\\.)*+"?|'[^'\n]*+'?|\#[^\n]*+|(?P<sign>[.=\[\]{}])""",
    re.DOTALL,
)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML document; raises ValueError."""
    found = _LONG_KEY.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"a key of more than {_MOST_PARTS} parts (at line {line})")
    _bound(text)
    import tomllib  # its patterns take half a megabyte, and most apps have no such file

    allowance.check("TOML")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _bound(text: str) -> None:
    """Raise ValueError if a document has more tables or keys, or is nested deeper, than any that people or tools write.

    A number with a point counts as a table, and a table within a table once for each.
    """
    tables = keys = depth = 0
    for number, found in enumerate(_SIGN.finditer(text)):
        sign = found["sign"]
        if sign == "=":
            keys += 1
        elif sign in {".", "[", "{"}:
            tables += 1
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign, 0)
        if depth > _DEEPEST:
            raise ValueError(f"it is nested too deeply (more than {_DEEPEST} levels)")
        if tables > _MOST_TABLES or keys > _MOST_KEYS:
            raise ValueError(f"it has more than {_MOST_TABLES} tables or {_MOST_KEYS} keys")
        if number % 10_000 == 0:
            allowance.check("TOML")
