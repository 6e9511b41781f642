"""Take over what runs beside a web server as processes of a manifest."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from reconciler.documents.names import is_process_name
from reconciler.inspection.imports.draft import TO_FILL_IN, Draft
from reconciler.inspection.imports.ledger import Item, Ledger, Note, quoted
from reconciler.planning.command_line import Command, NeedsShell, NoCommand, command_of
from reconciler.planning.processes.kinds import kind_of

ADVICE = "name it in 'processes' of the manifest, with its command"
_OF_A_SHELL = "a shell runs it: write `exec` before what is to be told to stop"
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
# Where the programs of a host are, and not those of an app's environment.
_OF_HOST = frozenset(("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/usr/local/sbin"))


def take_line(ledger: Ledger, draft: Draft, item: Item, name: str, count: int = 1) -> None:
    """Take over a line of a Procfile, which the daemon reads by its name."""
    written = _written(item.value)
    if not _is_free(draft, name) or written is None:
        ledger.leave([item], ADVICE, draft.notes)
        return
    given: Any = count
    if isinstance(written, list):
        given = {"command": written} if count == 1 else {"command": written, "count": count}
        _note_shell(draft, item)
    _processes(draft)[name] = given
    ledger.use(item)


def take(  # noqa: PLR0913, PLR0917  what is taken over, and from where
    ledger: Ledger, draft: Draft, items: Sequence[Item], title: str, command: str, more: Mapping[str, Any]
) -> bool:
    """Take over a program with its command, and `more` fields of the process; False if it cannot be one."""
    name, written = name_of(title), _written(command)
    if not _is_free(draft, name) or written is None:
        return False
    if isinstance(written, list):
        _note_shell(draft, items[0])
    _processes(draft)[name] = {"command": written, **more} if more else {"command": written}
    ledger.use(*items)
    return True


def is_of_app(command: str) -> bool:
    """Return whether a command is most likely an app's own: of Python or its environment, and none of the host's."""
    try:
        words = command_of(command).words
    except NoCommand:
        return False
    program = PurePosixPath(words[0])
    in_environment = program.is_absolute() and program.parent.name == "bin" and str(program.parent) not in _OF_HOST
    return in_environment or program.name.startswith("python") or program.suffix == ".py" or _is_known(words)


def name_of(title: str) -> str:
    """Return the name of a process for a title of a program."""
    return _NO_NAME.sub("-", title).strip("-_")[:63]


def _is_known(words: Sequence[str]) -> bool:
    return kind_of(words).name != "other"


def _is_free(draft: Draft, name: str) -> bool:
    return is_process_name(name) and name not in draft.fields.get("processes", {})


def _processes(draft: Draft) -> dict[str, Any]:
    found: dict[str, Any] = draft.fields.setdefault("processes", {})
    return found


def _written(command: str) -> str | list[str] | None:
    """Return a command as a manifest has it, without the path of an environment; None if no manifest can have it."""
    if TO_FILL_IN.search(command):
        return None
    try:
        found = command_of(command)
    except NeedsShell:
        return ["sh", "-c", command]
    except NoCommand:
        return None
    return _without_environment(command, found)


def _without_environment(command: str, found: Command) -> str:
    program = PurePosixPath(found.words[0])
    if program.is_absolute() and program.parent.name == "bin" and str(program.parent) not in _OF_HOST:
        return command.replace(found.words[0], program.name, 1)
    return command


def _note_shell(draft: Draft, item: Item) -> None:
    draft.notes.append(Note(file=item.file, line=item.line, original=quoted([item]), advice=_OF_A_SHELL))
