"""Say what an isolated program has to see: its build, its environment, the Python below that, and its services.

Links are followed to whatever they lead to, as an interpreter does: what it needs lies wherever it was installed.
"""

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path

from reconciler.linux.regular_files import read_file
from reconciler.planning.apps.revision import Revision
from reconciler.serving.programs.program import Sight

_MOST_OF_A_FILE = 1 << 20
_SYSTEM_PREFIXES = frozenset(("/", "/usr"))


def sight_of(revision: Revision, python: str, *, opens: bool = False) -> Sight | None:
    """Return what an isolated program of a revision has to see, None if it is not isolated.

    `python` is that of its environment, "" without one; a program that `opens` a port may do so.
    """
    if not revision.isolation:
        return None
    own = str(resources.files("reconciler"))
    environment = (str(Path(python).parent.parent), *_pythons(python)) if python else ()
    needed = [own, *environment, *_pythons(sys.executable), *_names_of_ours()]
    return Sight(
        isolation=revision.isolation,
        build=revision.build.id,
        readable=tuple(dict.fromkeys(needed)),
        opens=opens or revision.isolation.listens == "all",
        services=tuple((bound.type, bound.service, bound.instance) for bound in revision.bindings),
    )


def _names_of_ours() -> tuple[str, str]:
    """Return the names by which our own Python, of forwarders and launchers, is run and finds what it is made of."""
    return sys.executable, str(Path(sys.executable).parent.parent / "pyvenv.cfg")


@lru_cache(maxsize=256)
def _pythons(python: str) -> tuple[str, ...]:
    """Return the directories of the Python below that of an environment."""
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
