"""Parse TOML that users and tools wrote, in time that grows with its length.

The parser looks at every beginning of a dotted key, so that one of a thousand parts takes minutes.
"""

import re
import tomllib
from typing import Any

_MOST_PARTS = 64
_PART = r"""(?:[\w-]++|"[^"\n]{0,200}+"|'[^'\n]{0,200}+')"""
_LONG_KEY = re.compile(rf"(?<![\w.-])(?:{_PART}[ \t]*+\.[ \t]*+){{{_MOST_PARTS},}}+")


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML document; raises ValueError or RecursionError."""
    found = _LONG_KEY.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"a key of more than {_MOST_PARTS} parts (at line {line})")
    return tomllib.loads(text)
