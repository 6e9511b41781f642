"""Take the command that starts a web app over into the fields of a manifest, option by option.

Whatever of it has no counterpart becomes a note. No command runs.
"""

import posixpath
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.inspection.imports.draft import TO_FILL_IN, Draft
from reconciler.inspection.imports.ledger import Item, Ledger, Note, quoted_text
from reconciler.linux.listing import is_directory, is_file
from reconciler.planning.apps.owned_settings import OWNED
from reconciler.staging.detection.served_by import entry_of
from reconciler.staging.detection.target import SOURCES, EntryPoint
from reconciler.staging.detection.web_line.command import understand
from reconciler.staging.detection.web_line.options import ServerOption, WebProcess
from reconciler.staging.detection.web_line.shell import SimpleCommand, simple_commands
from reconciler.staging.errors import StagingError

Place: TypeAlias = Literal["host", "platform", "container"]

_DEFAULT = re.compile(r"\$\{\w++:?-([^}]*+)(?:\}|\Z)")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*(?:[:?+-][^}]*)?\}?")
ENTRYPOINT = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\(.*\))?")
_RUNNER = re.compile(r"(?:poetry|uv|pipenv|pdm|hatch) run ")
_RELEASE = re.compile(
    r"(?:(?:\S*/)?python[\d.]*\s+)?\S*manage\.py\s+(?:migrate|collectstatic|compilemessages|createcachetable|compress)"
    r"|(?:\S*/)?alembic\b.*\bupgrade|(?:\S*/)?flask\b.*\bdb\b.*\bupgrade|(?:\S*/)?aerich\b.*\bupgrade"
)
# Blanks in a template's place would be taken for the end of a word.
_BLANKS = re.compile(r"\{\{\s*([^\s{}]+)\s*\}\}")
_EMPEROR = re.compile(r"uwsgi\b.*--emperor[ =](\S+)")
_DEPENDENCIES = ("requirements.txt", "pyproject.toml", "Pipfile", "setup.py")
_SHELLS = frozenset(("sh", "bash", "dash", "ash"))
_AS_RELEASE = " (use the field 'release')"
_GONE_ANYWAY = frozenset(("accesslog", "errorlog", "daemon", "pidfile", "proc_name", "capture_output", "reuse_port"))


def take_command(ledger: Ledger, draft: Draft, item: Item, code: Path, place: Place = "platform") -> bool:
    """Take over what the command of an item starts; False, and nothing taken, if that is no web app of Python.

    `code` is where its scripts and its app are looked for. On a "host" its address and its absolute paths are those of
    this host, on a "platform" only an address that it does not give, and in a "container" neither.
    """
    item = replace(item, value=_BLANKS.sub(r"{{\1}}", item.value))
    process = understand(item.value, code)
    if process is None:
        return False
    try:
        commands = _commands(item.value)
    except ValueError:  # of what is behind the -c of a shell
        commands = []
    on_host = place == "host"
    process, code = _placed(draft, process, commands, code, on_host=on_host)
    entry, reason = _entry(process, code)
    if process.kind == "config" and process.server == "uwsgi" and on_host and entry is None:
        return False
    ledger.use(item)
    _take_entry(draft, item, process, entry, reason)
    for name, value in _assigned(commands):
        if name not in {"PYTHONPATH", "FLASK_APP", "QUART_APP"}:
            draft.set_variable(ledger, item, name, value)
    if process.settings:
        draft.fields["gunicorn"] = {**process.settings, **draft.fields.get("gunicorn", {})}
    listens = on_host or (place == "platform" and not any(_is_given(option) for option in process.not_followed))
    for option in process.not_followed:
        _take_option(ledger, draft, item, option, listens=listens)
    _take_others(draft, item, process, commands)
    return True


def is_script_without_app(command: str, code: Path) -> bool:
    """Return whether a command runs a script of the source in which there is no web app."""
    process = understand(command, code)
    return (
        process is not None and (process.kind, process.server) == ("file", "python") and bool(_entry(process, code)[1])
    )


def not_started(value: str) -> str:
    """Return why a command starts no web app of Python that import could take over."""
    if found := TO_FILL_IN.search(value):
        return f"{found[0]} is to be filled in: import it once that is done"
    if found := _EMPEROR.search(value):
        return f"import the directory of the vassals: reconciler import {found[1]}"
    process = understand(value, Path("/nonexistent"))
    if process is not None and process.kind == "config" and process.server == "uwsgi":
        return f"the app is in a file of uWSGI: reconciler import {process.target}"
    return "it starts no Python web server that import knows"


def _placed(
    draft: Draft, process: WebProcess, commands: list[SimpleCommand], code: Path, *, on_host: bool
) -> tuple[WebProcess, Path]:
    """Return the process with its paths relative to the source, and the source; an absolute one may name another."""
    absolute = _absolute(commands, process.chdir)
    if absolute is not None:  # in a container, that is where the source lies
        process = replace(process, chdir="")
        if on_host:
            draft.fields["path"] = absolute
            code = Path(absolute)
    elif process.chdir and process.kind in {"object", "file"} and _needs_top(code, process.chdir):
        file = f"{process.chdir}/{process.target}" if process.kind == "file" else process.target
        process = replace(process, chdir="", target=file, pythonpath=(process.chdir, *process.pythonpath))
    elif process.chdir and _needs_top(code, process.chdir):
        process = replace(process, chdir="", target="", kind="config")  # detection looks below the top, too
    elif process.chdir:
        path = str(draft.fields.get("path", "."))
        below = posixpath.join(path, process.chdir)
        draft.fields["path"] = below if below.startswith("/") else f"./{posixpath.normpath(below)}"
        code, process = code / process.chdir, replace(process, chdir="")
    path = str(draft.fields.get("path", "."))
    if process.target.startswith("/") and on_host and process.kind != "config":
        if path == ".":
            path = draft.fields["path"] = posixpath.dirname(process.target.partition(":")[0])
            code = Path(path)
        process = replace(process, target=process.target.removeprefix(f"{path.rstrip('/')}/"))
    return process, code


def _needs_top(code: Path, below: str) -> bool:
    """Tell whether the dependency file is at the top of the source, and none in the directory that the app runs in."""
    return any(is_file(code / name) and not is_file(code / below / name) for name in _DEPENDENCIES)


def _absolute(commands: list[SimpleCommand], directory: str) -> str | None:
    """Return the absolute path in the commands that is this directory without its slashes; None if there is none."""
    words = (word.rpartition("=")[2] for command in commands for word in command.words)
    return next((word for word in words if word.startswith("/") and directory and word.strip("/") == directory), None)


def _entry(process: WebProcess, code: Path) -> tuple[EntryPoint | None, str]:
    """Return the entry point that staging would find, or why there is none; neither where the source is not here."""
    if not is_directory(code):
        return None, ""
    try:
        found = entry_of(process, code, "")
    except StagingError as error:
        return None, str(error)
    return (None, "") if found.installed else (found, "")


def _commands(line: str) -> list[SimpleCommand]:
    """Return the commands of a line, those behind the `-c` of a shell as well."""
    found = []
    for command in simple_commands(line):
        words = command.words
        inner = (
            words[2] if len(words) > 2 and words[0].rpartition("/")[2] in _SHELLS and words[1].endswith("c") else None
        )
        found += simple_commands(inner) if inner is not None else [command]
    return found


def _take_others(draft: Draft, item: Item, process: WebProcess, commands: list[SimpleCommand]) -> None:
    """Take over what is to run before the app is served, and note what else the command does."""
    told = {option.report for option in process.not_followed}
    written = (_RUNNER.sub("", " ".join(each.words)) for each in commands)
    released = [command for command in written if _RELEASE.match(command)]
    parts = [report.removesuffix(_AS_RELEASE) for report in process.reported if report.endswith(_AS_RELEASE)]
    parts = [_RUNNER.sub("", part) for part in parts]  # release commands run in the app's environment
    released += [part for part in parts if _RELEASE.match(part) and "…" not in part and part not in released]
    if released and "release" not in draft.fields:
        draft.fields["release"] = " && ".join(released)
    for report in process.reported:
        part = _RUNNER.sub("", report)
        is_release = any(part.startswith(each[:60]) for each in released) and "release" in draft.fields
        if part.startswith("exec $@"):
            continue  # the CMD of the image, which is taken over
        if report not in told and not is_release and not report.split("=…")[0].isidentifier():
            note(draft, item, report)


def note(draft: Draft, item: Item, text: str) -> None:
    """Add a note on a part of an item: `text` is that part, with advice in parentheses at its end."""
    part, _, advice = text.rpartition(" (")
    original, advice = (part, advice.removesuffix(")")) if part else (text, "it has no counterpart")
    _note(draft, item, original, advice)


def _note(draft: Draft, item: Item, original: str, advice: str) -> None:
    draft.notes.append(Note(file=item.file, line=item.line, original=quoted_text(original), advice=advice))


def _take_entry(draft: Draft, item: Item, process: WebProcess, entry: EntryPoint | None, reason: str) -> None:
    pythonpath = process.pythonpath
    if entry is not None:
        if entry.settings is None and entry.expression is None:
            draft.fields["entrypoint"] = entry.target
        pythonpath = tuple(path for path in entry.pythonpath if path != SOURCES)
    elif (target := _written_target(process)) and process.kind != "django":
        draft.fields["entrypoint"] = target
    if process.kind == "file" and process.server == "python":
        what = "gunicorn serves the app object of this file"
        what += "; what runs it there does not run" if entry else ": set 'entrypoint', unless detection finds it"
        _note(draft, item, f"python {process.target}", reason or what)
    elif entry is None and (reason or "entrypoint" not in draft.fields) and process.kind != "config":
        advice = reason or "set the field 'entrypoint' to module:callable, unless detection finds it"
        _note(draft, item, process.target or f"{process.server} run", advice)
    if process.config and posixpath.normpath(process.config) != "gunicorn.conf.py":
        note(
            draft,
            item,
            f"--config {process.config} (gunicorn.conf.py at the top of the source is read; otherwise write"
            " its settings into the field 'gunicorn')",
        )
    if process.kind == "config" and process.server == "uwsgi" and entry is None:
        note(draft, item, f"{process.target} (import this file, too: reconciler import {process.target})")
    worker_class = process.worker_class or "sync"
    if _VARIABLE.search(worker_class):
        _note(draft, item, f"--worker-class {worker_class}", "set the field 'worker_class'")
    elif process.worker_class and not worker_class.startswith(("uvicorn", "egg:")):
        draft.fields["worker_class"] = worker_class
    _take_python_path(draft, item, process, pythonpath)


def _take_python_path(draft: Draft, item: Item, process: WebProcess, pythonpath: tuple[str, ...]) -> None:
    within = [path for path in pythonpath if not path.startswith("/") and ".." not in path.split("/")]
    if within:
        draft.fields.setdefault("gunicorn", {})["pythonpath"] = ",".join(within)
    outside = [path for path in process.pythonpath if path.startswith("/") or ".." in path.split("/")]
    if outside:
        note(draft, item, f"pythonpath {' '.join(outside)} (set PYTHONPATH in 'env', if the app needs it)")


def _written_target(process: WebProcess) -> str | None:
    """Return the entry point that a command names itself; None if it names a file to run, or none."""
    target = process.target
    if process.kind == "object" and ":" not in target:
        target += ":application" if process.server != "uvicorn" else ":app"
    if process.kind == "file" and process.server != "python":
        file, _, name = target.partition(":")
        module = re.sub(r"[.](py|wsgi)$", "", file).removeprefix("./").replace("/", ".")
        target = f"{module}:{name or 'application'}"
    named = process.kind in {"object", "flask"} or (process.kind == "file" and process.server != "python")
    return target if named and ENTRYPOINT.fullmatch(target) else None


def _is_given(option: ServerOption) -> bool:
    """Tell whether an option is an address that the platform gives: the daemon gives another one."""
    return option.setting == "bind" and _VARIABLE.search(_DEFAULT.sub("$PORT", option.value)) is not None


def _take_option(ledger: Ledger, draft: Draft, item: Item, option: ServerOption, *, listens: bool) -> None:
    value = _DEFAULT.sub(r"\1", option.value)
    part = Item(file=item.file, line=item.line, column=item.column, path=(option.name,), value=value, sign=" ")
    match option.setting:
        case "workers" | "threads" if value.isdecimal() and 1 <= int(value) <= 1000:
            draft.fields[option.setting] = int(value)
        case "graceful_timeout" if value.isdecimal():
            draft.fields["stop_timeout"] = f"{value}s"
        case "raw_env" if "=" in value:
            name, _, text = value.partition("=")
            draft.set_variable(ledger, part, name, text)
        case "bind":
            if listens and not take_address(draft, option.name, value):
                note(draft, item, option.report)
        case setting if setting in _GONE_ANYWAY:
            pass
        case "reload":
            pass  # the daemon deploys every change of the source
        case setting if setting is not None and setting not in OWNED and not _VARIABLE.search(value):
            draft.fields.setdefault("gunicorn", {})[setting] = int(value) if value.isdecimal() else value or True
        case _:
            note(draft, item, option.report)


def take_address(draft: Draft, option: str, value: str) -> bool:
    """Take over the address that an option of a server gives; False if it is none that the daemon can listen on."""
    if option in {"--uds", "--fd", "--unix", "--unix-socket"} or value.startswith(("unix:", "fd://", "/")):
        return False
    if option == "--host":
        return _take_host(draft, value)
    if option == "--port":
        host, port = "", value
    else:
        address = value.removeprefix("http://").removeprefix("tcp://")
        host, _, port = address.rpartition(":") if ":" in address or address.isdecimal() else (address, "", "")
    if _VARIABLE.fullmatch(port):
        return True  # an address that a platform gives, as the daemon does: it leases a port, which is $PORT
    if port in {"", "0"}:
        port = ""
    elif port.isdecimal() and 0 < int(port) <= 65535:
        draft.fields.setdefault("port", int(port))
    else:
        return False
    return _take_host(draft, host)


def _take_host(draft: Draft, host: str) -> bool:
    bare = host.strip("[]")
    if bare in {"", "*", "localhost", "127.0.0.1"} or _VARIABLE.fullmatch(bare):
        return True
    if re.fullmatch(r"[0-9a-fA-F:.]+", bare):
        draft.fields["host"] = bare
        return True
    return False


def _assigned(commands: list[SimpleCommand]) -> list[tuple[str, str]]:
    found = [pair for command in commands for pair in command.assignments]
    for command in commands:
        if command.words[:1] in {("export",), ("env",)}:
            found += [(word.partition("=")[0], word.partition("=")[2]) for word in command.words[1:] if "=" in word]
    return [(name, _DEFAULT.sub(r"\1", value)) for name, value in found if name.isidentifier()]
