"""Remember when a repository last answered, which each look changes: by the time of an empty file.

So a look that finds nothing new writes neither a record nor to the database.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.state.paths import StatePaths

_FILE = "answered"


def note(directory: Path, at: float) -> None:
    """Note when the repository of an origin answered, in the origin's directory; where it cannot be, no harm is done.

    Blocks.
    """
    with contextlib.suppress(OSError):
        file = directory / _FILE
        file.touch(mode=0o600)
        os.utime(file, (at, at))


def noted(directory: Path) -> float | None:
    """Return when it did so last, in seconds since 1970, None if that was not noted. Blocks."""
    try:
        return (directory / _FILE).stat().st_mtime
    except OSError:
        return None


def with_last_answers(origins: Sequence[Mapping[str, Any]], paths: StatePaths) -> list[dict[str, Any]]:
    """Return the facts about origins with when the repository of each answered last. Blocks."""
    found = []
    for facts in origins:
        name, at = str(facts.get("name")), paths.source if facts.get("kind") == "source" else paths.origin
        found.append({**facts, "heard_at": noted(at(name)) or facts.get("heard_at")})
    return found
