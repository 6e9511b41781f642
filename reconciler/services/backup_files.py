"""The backups in the state directory, which their files alone tell of: whose, when, why made, how large, if verified.

A backup is named `SERVICE-ID-TIME.TYPE`, where ID is that of the service's record and TIME is UTC; what made it, unless
an operator did, stands after the time. The outcome of its last verification is in a file beside it.
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record
from reconciler.services.records import ServiceRecord

MadeBy: TypeAlias = Literal["operator", "schedule", "restore", "removal"]

_NAME = re.compile(
    r"(?P<service>[a-z0-9-]{1,63})-(?P<id>[0-9a-f]{12})-(?P<at>\d{8}T\d{6}Z)(-(?P<by>[a-z]+))?\.(?P<type>[a-z]+)"
)
_MADE_BY: Mapping[str, MadeBy] = {by: by for by in get_args(MadeBy)}
_TIME = "%Y%m%dT%H%M%SZ"
_MOST_OF_A_VERIFICATION = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome of a verification at `at`, seconds since 1970: what was counted, such as tables and rows.

    `failure` says why the backup could not be restored, empty if it could.
    """

    at: float
    counted: Mapping[str, int]
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFile:
    """One complete backup. `id` is that of the service's record, `at` seconds since 1970, `size` in bytes."""

    path: Path
    service: str
    id: str
    type: str
    at: float
    made_by: MadeBy
    size: int
    verification: Verification | None = None


def new_backup(directory: Path, record: ServiceRecord, at: float, made_by: MadeBy) -> Path:
    """Return a path that no other backup has, for one of a service that begins at `at`, seconds since 1970."""
    by = "" if made_by == "operator" else f"-{made_by}"
    while True:
        stamp = datetime.fromtimestamp(at, UTC).strftime(_TIME)
        path = directory / f"{record.name}-{record.id}-{stamp}{by}.{record.type}"
        if not path.exists():
            return path
        at += 1


def backups_in(directory: Path, record: str | None = None) -> tuple[BackupFile, ...]:
    """Return the backups in a directory, the newest first; with `record`, those of one service. Blocks.

    Raises OSError, but not where the directory is missing.
    """
    try:
        with os.scandir(directory) as entries:
            found = [backup for entry in entries for backup in _backup(entry, record)]
    except FileNotFoundError:
        return ()
    return tuple(sorted(found, key=lambda one: (-one.at, one.path.name)))


def record_verification(backup: Path, verification: Verification) -> None:
    """Write down the outcome of a verification, for as long as the backup does not change. Raises OSError; blocks."""
    facts = backup.stat()
    text = json.dumps(
        {
            "at": verification.at,
            "counted": dict(verification.counted),
            "failure": verification.failure,
            "size": facts.st_size,
            "changed_ns": facts.st_mtime_ns,
        }
    )
    replace_file(_verification_path(backup), text)


def remove_backup(backup: Path) -> None:
    """Remove a backup, and what was written down about it. Raises OSError; blocks."""
    backup.unlink(missing_ok=True)
    _verification_path(backup).unlink(missing_ok=True)


def _backup(entry: "os.DirEntry[str]", record: str | None) -> Iterator[BackupFile]:
    named = _NAME.fullmatch(entry.name)
    if named is None or record not in {None, named["id"]}:
        return
    by = _MADE_BY.get(named["by"] or "operator")
    try:
        at = datetime.strptime(named["at"], _TIME).replace(tzinfo=UTC).timestamp()
        facts = entry.stat(follow_symlinks=False)
    except (OSError, ValueError):  # removed just now, or no time at all
        return
    if by is None or not stat.S_ISREG(facts.st_mode):
        return
    yield BackupFile(
        path=Path(entry.path),
        service=named["service"],
        id=named["id"],
        type=named["type"],
        at=at,
        made_by=by,
        size=facts.st_size,
        verification=_verification(Path(entry.path), facts),
    )


def _verification(backup: Path, facts: os.stat_result) -> Verification | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        found = read_record(_verification_path(backup), _MOST_OF_A_VERIFICATION)
        if (found["size"], found["changed_ns"]) == (facts.st_size, facts.st_mtime_ns):
            counted = {str(what): int(number) for what, number in found["counted"].items()}
            return Verification(at=float(found["at"]), counted=counted, failure=str(found["failure"]))
    return None


def _verification_path(backup: Path) -> Path:
    return backup.with_name(f".{backup.name}.verified")
