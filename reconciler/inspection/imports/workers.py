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


def give(draft: Draft, title: str, own: Draft) -> None:
    """Give a process the variables of `own` that its app does not have, or has with other values."""
    of_app = draft.fields.get("env", {})
    env = {name: value for name, value in own.fields.get("env", {}).items() if of_app.get(name) != value}
    process = draft.fields["processes"][name_of(title)]
    if env:
        process["env"] = env
    for file in own.fields.get("env_files", ()):
        if file not in draft.fields.get("env_files", ()):
            draft.fields.setdefault("env_files", []).append(file)


def with_their_web(drafts: Sequence[Draft]) -> frozenset[str]:
    """Move processes of apps without a web server to the one app with one that has their source; return which."""
    moved: set[str] = set()
    for draft in drafts:
        if draft.fields.get("web") is not False:
            continue
        webs = [each for each in drafts if _has_web(each) and each.fields["path"] == draft.fields["path"]]
        processes = {name: given for name, given in draft.fields["processes"].items() if isinstance(given, dict)}
        names = webs[0].fields.get("processes", {}).keys() if len(webs) == 1 else processes.keys()
        if len(webs) != 1 or processes != draft.fields["processes"] or names & processes.keys():
            continue
        for name, given in processes.items():
            _processes(webs[0])[name] = given
            give(webs[0], name, draft)
        for service in draft.fields.get("services", ()):
            webs[0].bind(service)
        webs[0].notes.extend(draft.notes)
        moved.add(draft.name)
    return frozenset(moved)


def _has_web(draft: Draft) -> bool:
    return draft.kind == "app" and draft.fields.get("web") is not False and "path" in draft.fields


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
