"""The manifests and the settings that a daemon was started with, recorded so that every command can use the same."""

import contextlib
import json
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records

_FACT = "daemon"
_MANIFESTS = "manifests"  # its "directory" is all that an earlier version recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonRecord:
    """Absolute paths: the directory of the manifests, and the settings file, None when there was none.

    `short_origin` is the origin in git that was named in place of a directory, as it was written.
    """

    manifests: Path
    settings: Path | None = None
    short_origin: str | None = None


def record(records: Records, used: DaemonRecord) -> None:
    """Record what the daemon that begins now uses."""
    settings = None if used.settings is None else str(used.settings)
    fact = {"manifests": str(used.manifests), "settings": settings, "short_origin": used.short_origin}
    records.set_fact(_FACT, json.dumps(fact))


def recorded(paths: StatePaths) -> DaemonRecord | None:
    """Return what the last daemon of a state directory used, None if none has ever run in it.

    Raises OSError, sqlite3.Error or OtherVersion if the state directory cannot be read.
    """
    if not paths.database.exists():
        return None
    from reconciler.state.schema import open_database

    with contextlib.closing(open_database(paths.database, read_only=True, at_once=True)) as database:
        return _from(Records(database))


def _from(records: Records) -> DaemonRecord | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged, or written by another version
        if (text := records.fact(_FACT)) is not None:
            fact = json.loads(text)
            settings = None if fact["settings"] is None else Path(fact["settings"])
            return DaemonRecord(
                manifests=Path(fact["manifests"]), settings=settings, short_origin=fact.get("short_origin")
            )
        return DaemonRecord(manifests=Path(json.loads(records.fact(_MANIFESTS) or "{}")["directory"]))
    return None
