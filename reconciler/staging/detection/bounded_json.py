"""Parse JSON that users and tools wrote, in time and memory that grow with its length.

A few megabytes of brackets and commas would take gigabytes as lists, and deep nesting the parser's stack.
"""

import json
import re
from typing import Any

from reconciler.staging.source import allowance

_MOST_VALUES = 500_000
_DEEPEST = 64
# Text, of which only its own length is made, and each sign of which something is.
_SIGN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|(?P<sign>[\[\]{},])', re.DOTALL)


def parse_json(text: str | bytes) -> Any:
    """Return the content of a JSON document; raises ValueError."""
    text = text if isinstance(text, str) else text.decode()
    values = depth = 0
    for number, found in enumerate(_SIGN.finditer(text)):
        sign = found["sign"]
        values += sign in {",", "[", "{"}
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign, 0)
        if depth > _DEEPEST:
            raise ValueError(f"it is nested too deeply (more than {_DEEPEST} levels)")
        if values > _MOST_VALUES:
            raise ValueError(f"it has more than {_MOST_VALUES} values")
        if number % 10_000 == 0:
            allowance.check("JSON")
    return json.loads(text)
