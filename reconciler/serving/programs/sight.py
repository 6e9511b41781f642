"""Say what an isolated program has to see: its build, its environment, the Python below that, and its services."""

import sys
from pathlib import Path

from reconciler.isolation.pythons import pythons_below
from reconciler.linux.package_files import package_directory
from reconciler.planning.apps.revision import Revision
from reconciler.serving.programs.program import Sight


def sight_of(revision: Revision, python: str, *, opens: bool = False) -> Sight | None:
    """Return what an isolated program of a revision has to see, None if it is not isolated.

    `python` is that of its environment, "" without one; a program that `opens` a port may do so.
    """
    if not revision.isolation:
        return None
    environment = (str(Path(python).parent.parent), *pythons_below(python)) if python else ()
    needed = [*environment, *ours()]
    return Sight(
        isolation=revision.isolation,
        build=revision.build.id,
        readable=tuple(dict.fromkeys(needed)),
        opens=opens or revision.isolation.listens == "all",
        services=tuple((bound.type, bound.service, bound.instance) for bound in revision.bindings),
    )


def ours() -> tuple[str, ...]:
    """Return what our own programs need, with the names by which our Python is run and finds what it is made of."""
    names = sys.executable, str(Path(sys.executable).parent.parent / "pyvenv.cfg")
    return str(package_directory("reconciler")), *pythons_below(sys.executable), *names
