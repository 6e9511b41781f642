"""Find the one file that lists an app's dependencies, without reading it.

A lock file's format is loaded only where its project is there without it.
"""

from pathlib import Path

from reconciler.staging.detection.lockfiles.names import PROJECTS
from reconciler.staging.detection.pyproject import FILE as PYPROJECT
from reconciler.staging.detection.pyproject import project_table
from reconciler.staging.errors import StagingError

SETUP = "setup.py"
_REQUIREMENTS = "requirements.txt"


def dependency_file(code: Path, named: str | None) -> str:
    """Return the dependency file that the manifest names, else the one of the code, "" for none.

    Raises StagingError if it is not there, or if there are several.
    """
    file = found_file(code)[0] if named is None else named
    if file and not (code / file).is_file():
        raise not_there(file)
    return file


def found_file(code: Path) -> tuple[str, str]:
    """Return the dependency file of the code, and why it is this one; raises StagingError if there are several."""
    found = [name for name in (_REQUIREMENTS, *PROJECTS) if (code / name).is_file()]
    if len(found) > 1:
        rest = "other" if len(found) == 2 else "others"
        raise StagingError(
            f"cannot choose between {' and '.join(found)}: name one in `dependencies`, or remove the {rest}"
        )
    if found:
        return found[0], "the only dependency file"
    if project_table(code):
        return PYPROJECT, "there is no lock file"
    refuse_missing_lock(code)
    if (code / SETUP).is_file():
        return SETUP, "the only dependency file"
    return "", "no dependency file was found"


def refuse_missing_lock(code: Path) -> None:
    """Raise StagingError for a project that cannot be installed without its lock."""
    if not any((code / project).is_file() for project in set(PROJECTS.values())):
        return
    from reconciler.staging.detection.lockfiles.registry import LOCK_FORMATS

    for lock in LOCK_FORMATS.values():
        if lock.needs_lock(code):
            raise lock.missing()


def not_there(file: str) -> StagingError:
    """Return the error for a dependency file that is named and not in the source."""
    return StagingError(f"cannot find the dependencies: there is no {file} in the source")
