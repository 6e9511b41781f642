"""Expand the specifiers of systemd's units that are known from the unit's name alone; see systemd.unit(5)."""

import re
from pathlib import PurePath

_SPECIFIER = re.compile(r"%(.)")


def expanded(text: str, unit: str) -> str:
    """Return a text with `%n`, `%N`, `%p` and `%%` replaced; what depends on the host or an instance stays.

    >>> expanded("/srv/%p", "blog.service")
    '/srv/blog'
    """
    stem = PurePath(unit).stem
    known = {"n": PurePath(unit).name, "N": stem, "p": stem.partition("@")[0], "%": "%"}
    return _SPECIFIER.sub(lambda found: known.get(found[1], found[0]), text)
