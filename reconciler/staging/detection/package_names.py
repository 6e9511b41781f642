"""Compare names of packages as an index does."""

import re

_SEPARATORS = re.compile(r"[-_.]+")


def canonical(name: str) -> str:
    """Return the name by which an index knows a package: of `Zope.Interface`, `zope-interface` (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()
