"""Find where a Python lies, below an environment that was made of it: whatever runs it isolated has to see that.

Links are followed to whatever they lead to, as an interpreter does: what it needs lies wherever it was installed.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from reconciler.linux.regular_files import read_file

_MOST_OF_A_FILE = 1 << 20
_SYSTEM_PREFIXES = frozenset(("/", "/usr"))


@lru_cache(maxsize=256)
def pythons_below(python: str) -> tuple[str, ...]:
    """Return the directories of the Python below that of an environment, without those of the system."""
    found = [os.path.realpath(python), *_homes(python)]
    prefixes = [str(Path(each).parent.parent) for each in found]
    return tuple(prefix for prefix in dict.fromkeys(prefixes) if prefix not in _SYSTEM_PREFIXES)


def _homes(python: str) -> Iterator[str]:
    """Yield the interpreter that an environment names as the one that made it."""
    try:
        content = read_file(Path(python).parent.parent / "pyvenv.cfg", _MOST_OF_A_FILE)
    except OSError:
        return
    for line in os.fsdecode(content).splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home":
            yield f"{value.strip()}/python"
