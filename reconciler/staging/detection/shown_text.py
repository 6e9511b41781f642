"""Show the text of an app in a message: on one line, short, without what may be secret."""

import re

_ASSIGNED = re.compile(r"""(?<![\w-])([A-Za-z_]\w*)=(?:"[^"]*"|'[^']*'|[^\s"']\S*)""")
_LONGEST = 100


def shown(text: str) -> str:
    """Return text of the app on one line, cut where it is long, without the values of variables: they may be secret."""
    line = _ASSIGNED.sub(r"\1=…", " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def quoted(line: str) -> str:
    """Return a command line of the app as messages show it."""
    return f"`{shown(line)}`"
