"""Read the configuration of supervisord: the program sections that start a Python web server."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, ini_items
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.web_command import not_started, take_command

_EXPANSION = re.compile(r"%\((\w+)\)(\d*)[sd]")
_PAIR = re.compile(r"""\s*([A-Za-z_]\w*)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]*)\s*(?:,|$)""")
_ALWAYS = frozenset((
    "autorestart", "startretries", "stopsignal", "stopasgroup", "killasgroup", "redirect_stderr", "stdout_logfile",
    "stderr_logfile", "process_name", "exitcodes", "stdout_logfile_maxbytes", "stdout_logfile_backups",
    "stderr_logfile_maxbytes", "stderr_logfile_backups", "stdout_capture_maxbytes", "stderr_capture_maxbytes",
    "stdout_events_enabled", "stderr_events_enabled", "loglevel", "stdout_syslog", "stderr_syslog",
))  # fmt: skip
_ADVICE: Mapping[str, str] = {
    "user": advice.USER,
    "priority": "list the apps that must be ready before this one in 'depends_on'",
    "numprocs": advice.WORKERS,
    "numprocs_start": "there is one instance of an app",
    "serverurl": "the app cannot talk to supervisord",
    "umask": "set 'umask' in 'gunicorn'",
}
_OWN = "it configures supervisord itself"
_NO_NOTHING = {"startsecs": "a probation: see 'probation'", "stopwaitsecs": "a limit: see 'stop_timeout'"}
_NUMBERS_OF_WORKERS = frozenset(("numprocs", "stopwaitsecs"))
_SECTIONS = frozenset(("supervisord", "supervisorctl", "unix_http_server", "inet_http_server", "include"))


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return an app for each program that starts a Python web server."""
    ledger.add(ini_items(name, folder.text(name), continued="indent"))
    drafts: dict[str, Draft] = {}
    others: list[tuple[str, str]] = []
    for section in ledger.names():
        kind, _, title = section.partition(":")
        items = ledger.under(section)
        if kind in {"program", "fcgi-program"}:
            draft = Draft(name=unique_name(title, drafts))
            if _take_program(ledger, draft, section, title, folder):
                drafts[draft.name] = draft
            else:
                others.append((section, title))
        elif kind in _SECTIONS or kind.startswith("rpcinterface"):
            ledger.leave(items, _OWN)
        else:
            ledger.leave(items, "it has no counterpart: 'reconciler' commands take several apps by name")
    for section, title in others:
        if not _take_worker(ledger, drafts, section, title, folder):
            _leave_program(ledger, ledger.under(section), title)
    return list(drafts.values())


def _take_worker(ledger: Ledger, drafts: dict[str, Draft], section: str, title: str, folder: Folder) -> bool:
    """Take over a program of Python that is no web server: as a process of the app of its directory, or as an app."""
    found = {item.name: item for item in ledger.under(section)}
    command, directory = found.get("command"), found.get("directory")
    if command is None or not workers.is_of_app(command.value):
        return False
    path = "." if directory is None else directory.value
    known = {"program_name": title, "process_num": "0", "here": str(folder.path.resolve())}
    path = _expanded(path, known)
    here = [
        draft
        for draft in drafts.values()
        if directory is None or (folder.path / str(draft.fields["path"])).resolve() == (folder.path / path).resolve()
    ]
    draft = here[0] if len(here) == 1 else Draft(name=unique_name(title, drafts), fields={"path": path, "web": False})
    numbers = {name: item for name, item in found.items() if item.value.isdecimal() and name in _NUMBERS_OF_WORKERS}
    more: dict[str, Any] = {}
    if "numprocs" in numbers and (count := int(numbers["numprocs"].value)) != 1:
        more["count"] = min(count, 100)
    if "autostart" in found and found["autostart"].value.lower() in {"false", "no", "off", "0"}:
        more["count"] = 0
    if "stopwaitsecs" in numbers:
        more["stop_timeout"] = f"{numbers['stopwaitsecs'].value}s"
    items = [command, *([directory] if directory is not None else []), *numbers.values()]
    variables = Draft(name=draft.name, fields={"path": path}, notes=draft.notes)
    if not workers.take(ledger, draft, items, title, _expanded(command.value, known), more):
        return False
    if "environment" in found:
        _take_environment(ledger, variables, found["environment"], known)
    workers.give(draft, title, variables)
    ledger.use(
        *(item for item in ledger.under(section) if item.name in _ALWAYS or item.name in {"autostart", "startsecs"})
    )
    for item in ledger.under(section):
        if item.name in _ADVICE:
            ledger.leave([item], _ADVICE[item.name], draft.notes)
    ledger.leave_rest(section, notes=draft.notes)
    drafts[draft.name] = draft
    return True


def _take_program(ledger: Ledger, draft: Draft, section: str, title: str, folder: Folder) -> bool:
    known = {"program_name": title, "process_num": "0", "here": str(folder.path.resolve()), "host_node_name": ""}
    for index, item in enumerate(ledger.items):
        if item.path[0] == section and "%(" in item.value and item.name != "environment":
            ledger.items[index] = replace(item, value=_expanded(item.value, known))
    directory = next((item for item in ledger.under(section, "directory")), None)
    command = next(iter(ledger.under(section, "command")), None)
    draft.fields["path"] = directory.value if directory is not None else "."
    code = Path(directory.value) if directory is not None else folder.path
    if command is None or not take_command(ledger, draft, command, code, "host"):
        return False
    if directory is not None:
        draft.set_path(ledger, directory, str(draft.fields["path"]))
    else:
        draft.note_guessed_source(command, folder.path)
    for item in ledger.under(section):
        _take_field(ledger, draft, item, known)
    ledger.leave_rest(section, notes=draft.notes)
    return True


def _leave_program(ledger: Ledger, items: list[Item], title: str) -> None:
    """Leave a program with supervisord, told by its command."""
    commands = [item for item in items if item.name == "command"]
    reason = not_started(commands[0].value) if commands else "it has no command"
    advice = reason if "reconciler import" in reason else f"{reason}: leave '{title}' with supervisord"
    ledger.leave(commands or items, advice)
    ledger.use(*items)


def _take_field(ledger: Ledger, draft: Draft, item: Item, known: Mapping[str, str]) -> None:  # noqa: C901  one case for each setting
    match item.name:
        case name if name in _ALWAYS:
            ledger.use(item)
        case "environment":
            _take_environment(ledger, draft, item, known)
        case "autostart":
            ledger.use(item)
            if item.value.lower() in {"false", "no", "off", "0"}:
                draft.fields["state"] = "stopped"
        case "startsecs" | "stopwaitsecs" if item.value.isdecimal() and int(item.value) == 0:
            ledger.leave([item], f"there is always {_NO_NOTHING[item.name]}", draft.notes)
        case "startsecs" | "stopwaitsecs" if item.value.isdecimal():
            draft.fields["probation" if item.name == "startsecs" else "stop_timeout"] = f"{item.value}s"
            ledger.use(item)
        case "numprocs" if item.value == "1":
            ledger.use(item)
        case "priority" if item.value == "999":  # supervisord's default
            ledger.use(item)
        case "umask" if re.fullmatch(r"[0-7]{3,4}", item.value):
            draft.fields.setdefault("gunicorn", {})["umask"] = int(item.value, 8)
            ledger.use(item)
        case "socket":
            ledger.leave([item], "the daemon opens the listening socket: set 'port' and 'host'", draft.notes)
        case name if name in _ADVICE:
            ledger.leave([item], _ADVICE[name], draft.notes)


def _take_environment(ledger: Ledger, draft: Draft, item: Item, known: Mapping[str, str]) -> None:
    """Take over `A="b",C=d`; a value with an unknown %(ENV_x)s is that of supervisord's environment."""
    for name, written in _pairs(item.value):
        value = _expanded(written, known)
        part = replace(item, path=(*item.path, name), value=value, column=item.column)
        if _EXPANSION.search(value) and name != "PATH":
            ledger.leave(
                [replace(part, column=item.column + 1)],
                f"its value is of supervisord's environment: add {name} to 'env'",
                draft.notes,
            )
        else:
            draft.set_variable(ledger, part, name, value.replace("%%", "%"))
    ledger.use(item)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text) and (found := _PAIR.match(text, position)) is not None and found.end() > position:
        value = found[2].strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        yield found[1], value[1:-1] if quoted else value
        position = found.end()


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """Replace `%(name)s`, and `%(name)02d` with as many digits."""

    def value(found: re.Match[str]) -> str:
        text = known.get(found[1], found[0])
        return text.rjust(int(found[2]), "0" if found[2].startswith("0") else " ") if found[2] else text

    return _EXPANSION.sub(value, text)
