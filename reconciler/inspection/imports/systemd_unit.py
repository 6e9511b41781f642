"""Read a service unit of systemd that starts a Python web server, or a worker of Python."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, ini_items
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.web_command import is_script_without_app, not_started, note, take_command
from reconciler.linux.systemd_specifiers import expanded

_SECONDS = re.compile(r"(\d{1,5})(s|sec|min|m)?")
_ALWAYS = frozenset((
    "Type", "Restart", "RestartSec", "Description", "Documentation", "KillMode", "KillSignal", "ExecReload", "ExecStop",
    "PIDFile", "NotifyAccess", "StandardOutput", "StandardError", "SyslogIdentifier", "After", "Wants", "WantedBy",
    "StartLimitInterval", "StartLimitBurst", "StartLimitIntervalSec", "RuntimeDirectory", "RuntimeDirectoryMode",
    "SyslogFacility", "RemainAfterExit", "GuessMainPID", "SendSIGKILL", "Alias", "ExecStopPost", "PrivateTmp",
    "RestartPreventExitStatus", "SuccessExitStatus", "StandardInput", "PermissionsStartOnly",
))  # fmt: skip
_ADVICE: Mapping[str, str] = {
    "User": advice.USER,
    "Group": advice.USER,
    "SupplementaryGroups": advice.USER,
    "DynamicUser": advice.USER,
    "Requires": "the daemon waits for what 'depends_on' and 'services' name",
    "BindsTo": "the daemon waits for what 'depends_on' and 'services' name",
    "PartOf": "the daemon waits for what 'depends_on' and 'services' name",
    "Before": "list this app in 'depends_on' of the other one",
    "UMask": "set 'umask' in 'gunicorn'",
    "ExecStartPre": "put what every deploy needs into 'release'",
    "ExecStartPost": advice.NONE,
    "WatchdogSec": "set 'health' with a path that answers 2xx when the app is healthy",
    "OOMScoreAdjust": advice.NONE,
    "Nice": advice.NONE,
    "StateDirectory": "an app's $HOME is below the daemon's state directory, and is kept",
    "PassEnvironment": "an instance gets none of the daemon's environment: add the variables to 'env'",
    "LoadCredential": "add NAME: {file: …} to 'env'",
    "LoadCredentialEncrypted": "add NAME: {file: …} to 'env'",
    "OnFailure": "set up notifications in the host's settings",
    "Sockets": "the daemon opens the listening socket: set 'port' and 'host'",
}
_SANDBOXES = ("Protect", "Private", "Restrict", "ReadOnly", "ReadWrite", "Capability", "NoNew", "System", "Lock")
_PREFIXES = (
    ("LimitNOFILE", advice.OPEN_FILES),
    ("Limit", advice.LIMITS),
    ("Memory", advice.MEMORY),
    ("CPU", advice.CPU),
    ("Tasks", advice.PROCESSES),
    ("IO", advice.NONE),
    *((each, advice.ISOLATION) for each in _SANDBOXES),
)


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return the app that a unit starts; none if it starts nothing of Python."""
    ledger.add(ini_items(name, folder.text(name), continued="\\"))
    draft = Draft(name=unique_name(PurePath(name).stem.removesuffix("@"), set()))
    directory = next(iter(ledger.under("Service", "WorkingDirectory")), None)
    path = draft.fields["path"] = expanded(directory.value, name).lstrip("-") if directory else "."
    starts = ledger.under("Service", "ExecStart")
    taken = False
    for item in starts:
        value = expanded(item.value.lstrip("@-:+!"), name)
        if value and not taken and not is_script_without_app(value, folder.path / path):
            taken = take_command(ledger, draft, replace(item, value=value), folder.path / path, "host")
    if not taken and _take_worker(ledger, draft, starts, name):
        taken = True
    if not taken:
        for item in starts:
            ledger.leave([item], not_started(item.value))
        ledger.leave(ledger.items if not starts else [], "it starts no Python web server that import knows")
        ledger.use(*ledger.items)
        return []
    if directory is not None:
        if str(draft.fields["path"]).startswith("~"):
            draft.fields["path"] = "."
            ledger.leave([directory], "set 'path' to the app's source", draft.notes)
        draft.set_path(ledger, directory, str(draft.fields["path"]))
    else:
        draft.note_guessed_source(starts[0], folder.path)
    for item in [item for item in ledger.items if item not in starts and item is not directory]:
        _take_field(ledger, draft, item, name)
    ledger.leave(starts, "an app has one command", draft.notes)
    for section in ledger.names():
        ledger.leave_rest(section, notes=draft.notes)
    return [draft]


def _take_worker(ledger: Ledger, draft: Draft, starts: list[Item], unit: str) -> bool:
    """Take over what runs on and is no web server, as a process of an app without one."""
    kind = ledger.value("Service", "Type") or "simple"
    if len(starts) != 1 or kind in {"oneshot", "forking"}:
        return False
    command = expanded(starts[0].value.lstrip("@-:+!"), unit)
    if not workers.is_of_app(command) or not workers.take(ledger, draft, starts, draft.name, command, {}):
        return False
    draft.fields["web"] = False
    return True


def _take_field(ledger: Ledger, draft: Draft, item: Item, unit: str) -> None:  # noqa: C901, PLR0912  one case for each setting
    match item.name:
        case name if name in _ALWAYS:
            ledger.use(item)
        case "Environment":
            _take_environment(ledger, draft, item, unit)
        case "EnvironmentFile":
            file = expanded(item.value.lstrip("-"), unit)
            if file.startswith("/") and not set(file) & set("%*?$"):
                ledger.use(item)
                files = draft.fields.setdefault("env_files", [])
                files += [] if file in files else [file]
                if item.value.startswith("-"):
                    note(
                        draft, item, f"{item.value} (a file of 'env_files' must exist: remove it, if it may be missing)"
                    )
            else:
                ledger.leave([item], "name the file in 'env_files'", draft.notes)
        case "":
            ledger.leave([item], "it is no setting of systemd: it has no '='", draft.notes)
        case "TimeoutStopSec" | "TimeoutStartSec" if item.value == "infinity":
            ledger.leave([item], "there is always a limit: see 'stop_timeout' and 'health'", draft.notes)
        case "TimeoutStopSec" | "TimeoutStartSec" if found := _SECONDS.fullmatch(item.value):
            duration = f"{found[1]}{'m' if (found[2] or 's').startswith('m') else 's'}"
            if int(found[1]) == 0:
                ledger.leave([item], "there is always a limit", draft.notes)
            elif item.name == "TimeoutStopSec":
                _web_or_process(draft)["stop_timeout"] = duration
                ledger.use(item)
            elif "processes" in draft.fields:
                ledger.leave([item], "a process is ready once it has lived for a while: see 'ready'", draft.notes)
            else:
                draft.fields["health"] = {"start_timeout": duration}
                ledger.use(item)
        case name if name in _ADVICE:
            ledger.leave([item], _ADVICE[name], draft.notes)
        case name:
            told = (text for prefix, text in _PREFIXES if name.startswith(prefix))
            if (text := next(told, None)) is not None:
                ledger.leave([item], text, draft.notes)


def _web_or_process(draft: Draft) -> dict[str, Any]:
    """Return the fields of the program that a unit starts."""
    return next(iter(draft.fields.get("processes", {}).values()), draft.fields)


def _take_environment(ledger: Ledger, draft: Draft, item: Item, unit: str) -> None:
    try:
        words = shlex.split(item.value)
    except ValueError:
        words = item.value.split()
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        part = replace(item, column=number + 2, path=(*item.path, name), value=expanded(value, unit))
        if name == "PATH" and equals:
            continue  # that of the environment which the daemon makes
        if not equals or name == "PYTHONUNBUFFERED":
            if not equals:
                ledger.leave([part], "it is no NAME=VALUE", draft.notes)
            continue
        draft.set_variable(ledger, part, name, part.value)
    ledger.use(item)
