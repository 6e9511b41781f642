"""A finished build, and its record on disk.

A build's files are not synced one by one, which would take longer than everything else. Instead the record names the
boot in which the build was made, and a build of an earlier boot counts only if a power cut left none of its files empty
(what file systems leave of a file whose data never reached the disk). One that does not count is staged again.
"""

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field, fields
from itertools import chain
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, get_args

from reconciler.linux.dataclass import dataclass
from reconciler.linux.proc_files import read_proc
from reconciler.linux.regular_files import read_record
from reconciler.planning.apps.code_commands import NO_COMMANDS, CodeCommands, Listen

if TYPE_CHECKING:
    from reconciler.staging.detection.frameworks import Interface

RECORD = "build.json"
# Only a build whose code asks for commands has the file, so that a daemon learns of them without reading records.
_COMMANDS = "commands.json"
_MOST_OF_A_RECORD = 8 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """One finished build; all paths are absolute.

    `code` is the directory to serve from (the app's own, or that of its Django project), `pythonpath` further ones to
    import from, `python` the environment's interpreter, `entrypoint` what gunicorn loads, `worker_class` the gunicorn
    worker that suits its `interface`, `gunicorn` settings from the code, which a manifest overrides. `reused` tells
    whether the environment came from the store as it was; `because` explains that to an operator, and `reported` lists
    what was ignored of a Procfile and other files, `notes` what else an operator should know. `commands` are what the
    code asks to run before it serves. `missing` says what it imports and nothing installs. `runtime_named` tells
    whether a manifest or a file names the Python; it is None in the records of earlier versions. `python_advice` says
    how to get another where nothing does. `command` is the program that serves in place of gunicorn, `listen` how it is
    reached, `runtime` what runs it; without Python, what belongs to Python is "".
    """

    directory: str
    code: str
    environment: str
    python: str
    python_version: str
    gunicorn_version: str
    entrypoint: str
    interface: "Interface"
    worker_class: str
    gunicorn: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    pythonpath: tuple[str, ...] = ()
    because: str = ""
    reported: tuple[str, ...] = ()
    reused: bool = False
    commands: CodeCommands = NO_COMMANDS
    missing: str = ""
    notes: tuple[str, ...] = ()
    runtime_named: bool | None = None
    python_advice: str = ""
    command: tuple[str, ...] = ()
    listen: Listen = "port"
    runtime: str = ""


_TEXTS = tuple(each.name for each in fields(Staged) if each.type in {"str", str, "Interface"})


def boot_id() -> str:
    return read_proc(_BOOT_ID).strip()


def write(staged: Staged, draft: Path, boot: str) -> None:
    """Write the record into the build's draft, before that is renamed to `staged.directory`."""
    record = asdict(staged)
    commands = record.pop("commands")
    if staged.commands:
        (draft / _COMMANDS).write_text(json.dumps(commands), encoding="utf-8")
    nonempty = [
        os.path.relpath(os.path.join(directory, file), draft)  # noqa: PTH118 -- very many
        for directory, _, files in os.walk(draft)
        for file in files
        if os.lstat(os.path.join(directory, file)).st_size  # noqa: PTH118 -- the same
    ]
    text = json.dumps({"staged": record, "boot": boot, "files": nonempty})
    if len(text) > _MOST_OF_A_RECORD:  # staged again after a power cut
        text = json.dumps({"staged": record, "boot": boot, "files": None})
    (draft / RECORD).write_text(text, encoding="utf-8")


def marked_ns(build: Path, mark: str) -> int | None:
    """Return when a file was made to mark a build, in nanoseconds; without it, when the build was finished.

    A build of an earlier version has no marks; None if there is no build.
    """
    for name in (mark, RECORD):
        with suppress(OSError):
            return (build / name).stat().st_mtime_ns
    return None


def read(directory: Path, boot: str) -> Staged | None:
    """Return the build in `directory`; None if there is none, or it did not survive a power cut."""
    try:
        record = read_record(directory / RECORD, _MOST_OF_A_RECORD)
        lists = {name: tuple(record["staged"].get(name, ())) for name in ("pythonpath", "reported", "notes", "command")}
        # Most texts are those of many builds, and stay as long as the build.
        shared: dict[str, Any] = {
            name: intern(value) if type(value) is str else value for name, value in record["staged"].items()
        }
        staged = Staged(**{**shared, **lists}, commands=commands_of(directory))
        if record["boot"] != boot and any(_emptied(directory / file) for file in record["files"]):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return staged if staged.directory == str(directory) and _is_sound(staged) else None


def _is_sound(staged: Staged) -> bool:
    """Return whether every value is of its kind: an app can replace the record."""
    lists = (staged.pythonpath, staged.reported, staged.notes, staged.command)
    texts = (getattr(staged, name) for name in _TEXTS)
    is_reached = staged.listen in get_args(Listen)
    return (
        is_reached
        and isinstance(staged.gunicorn, dict)
        and all(isinstance(each, str) for each in (*texts, *chain(*lists)))
    )


def records(builds: Path) -> list[Path]:
    """Return the records of the finished builds in a directory, oldest first."""
    found = []
    for record in builds.glob(f"*/{RECORD}"):
        with suppress(OSError):
            facts = record.lstat()
            if stat.S_ISREG(facts.st_mode) and not record.parent.name.startswith("."):
                found.append((facts.st_mtime_ns, record))
    return [record for _, record in sorted(found)]


def build_ids(builds: Path) -> tuple[str, ...]:
    """Return the ids of the finished builds in a directory, oldest first."""
    return tuple(record.parent.name for record in records(builds))


def commands_of(directory: Path) -> CodeCommands:
    """Return the commands that the code of the finished build in `directory` asks for."""
    try:
        return CodeCommands(**read_record(f"{directory}/{_COMMANDS}", _MOST_OF_A_RECORD))
    except (OSError, ValueError, TypeError):
        return NO_COMMANDS


def _emptied(path: Path) -> bool:
    try:
        return path.lstat().st_size == 0
    except FileNotFoundError:
        return False  # the app removed it: creations reach the disk before the rename that follows them
