"""Write text as a YAML scalar."""

import json
import re

from reconciler.documents.scalars import value_of

_PLAIN = re.compile(r"[A-Za-z0-9_./-]+|[A-Za-z_/.][A-Za-z0-9_./-]*(?:[ :][A-Za-z0-9_./-]+)+")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def scalar(text: str) -> str:
    """Return the text as a YAML scalar, in quotes only where it needs them."""
    if _PLAIN.fullmatch(text) and value_of(text) == text:
        return text
    return json.dumps(text, ensure_ascii=_UNPRINTABLE.search(text) is not None)
