"""Fill in the words of a command that name where the program is to listen; no shell is run."""

import re
from collections.abc import Mapping, Sequence

from reconciler.planning.apps.listen_variables import EXPANDED

_NAMED = re.compile(r"\$(?:\{(?P<braced>[A-Z]++)(?:\}|:-[^}]*+(?:\}|\Z))|(?P<plain>[A-Z]+)\b)")


def expanded(command: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command with $PORT, $SOCKET and $HOST replaced; any other word stays as it is."""

    def value(found: re.Match[str]) -> str:
        name = found["braced"] or found["plain"]
        return variables.get(name, found[0]) if name in EXPANDED else found[0]

    return tuple(_NAMED.sub(value, word) for word in command)
