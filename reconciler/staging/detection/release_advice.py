"""Find the command that makes or migrates an app's database before it serves, in the directory where `release` runs."""

from pathlib import Path
from shlex import quote

from reconciler.staging.detection.modules import read
from reconciler.staging.detection.reached import reached_files
from reconciler.staging.detection.static_files import management_command
from reconciler.staging.detection.target import CONVENTIONAL_NAMES, EntryPoint


def migration(code: Path, entry: EntryPoint) -> str:
    """Return the command of Django, Flask-Migrate or Alembic, if the app has migrations of one; "" for none.

    Nothing runs it unasked: which database it changes is decided by variables that the code does not show.
    """
    command = management_command(code, entry, "migrate --noinput")
    if command:
        return command
    served = code / entry.chdir
    if (served / "migrations" / "env.py").is_file() and _imports(code, entry, "flask_migrate"):
        return f"FLASK_APP={quote(_for_flask(served, entry.target))} flask db upgrade"
    return "alembic upgrade head" if (served / "alembic.ini").is_file() else ""


def _for_flask(served: Path, target: str) -> str:
    """Return a target as every version of Flask takes it: a file, where that says it all."""
    module, _, name = target.partition(":")
    return f"{module}.py" if name in CONVENTIONAL_NAMES and (served / f"{module}.py").is_file() else target


def _imports(code: Path, entry: EntryPoint, package: str) -> bool:
    return any(
        origin.partition(".")[0] == package
        for path, top in reached_files(code, entry)
        for origin in read(path, top).imported.values()
    )
