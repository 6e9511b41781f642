"""Take the command that starts a web app over into the fields of a manifest, option by option.

Whatever of it has no counterpart becomes a note. No command runs.
"""

import re
from pathlib import Path

from reconciler.inspection.imports.draft import Draft
from reconciler.inspection.imports.ledger import Item, Ledger, Note, quoted_text
from reconciler.planning.apps.owned_settings import OWNED
from reconciler.staging.detection.web_line.command import understand
from reconciler.staging.detection.web_line.options import ServerOption, WebProcess
from reconciler.staging.detection.web_line.shell import SimpleCommand, simple_commands

_DEFAULT = re.compile(r"\$\{\w+:?-([^}]*)\}")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*(?:[:?+-][^}]*)?\}?")
ENTRYPOINT = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\(.*\))?")
_RELEASE = re.compile(
    r"(?:(?:\S*/)?python[\d.]*\s+)?\S*manage\.py\s+(?:migrate|collectstatic|compilemessages|createcachetable|compress)"
    r"|(?:\S*/)?alembic\b.*\bupgrade|(?:\S*/)?flask\b.*\bdb\b.*\bupgrade|(?:\S*/)?aerich\b.*\bupgrade"
)
_SHELLS = frozenset(("sh", "bash", "dash", "ash"))
_GONE_ANYWAY = frozenset(("accesslog", "errorlog", "daemon", "pidfile", "proc_name", "capture_output", "reuse_port"))


def take_command(ledger: Ledger, draft: Draft, item: Item, code: Path, *, listens: bool = True) -> bool:
    """Take over what the command of an item starts; False, and nothing taken, if that is no web app of Python.

    `code` is where its scripts are looked for. `listens` is false where its address is one of a container's own.
    """
    process = understand(item.value, code)
    if process is None:
        return False
    ledger.use(item)
    _take_entry(draft, item, process)
    try:
        commands = _commands(item.value)
    except ValueError:  # of what is behind the -c of a shell
        commands = []
    for name, value in _assigned(commands):
        if name not in {"PYTHONPATH", "FLASK_APP", "QUART_APP"}:
            draft.set_variable(ledger, item, name, value)
    draft.fields.update({"gunicorn": dict(process.settings)} if process.settings else {})
    for option in process.not_followed:
        _take_option(ledger, draft, item, option, listens=listens)
    told = {option.report for option in process.not_followed}
    released = [str(each) for each in commands if _RELEASE.match(" ".join(each.words))]
    if released and "release" not in draft.fields:
        draft.fields["release"] = " && ".join(" ".join(c.words) for c in commands if _RELEASE.match(" ".join(c.words)))
    for report in process.reported:
        is_release = any(report.startswith(each[:60]) for each in released) and "release" in draft.fields
        if report not in told and not is_release and not report.split("=…")[0].isidentifier():
            note(draft, item, report)
    return True


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


def note(draft: Draft, item: Item, text: str) -> None:
    """Add a note on a part of an item: `text` is that part, with advice in parentheses at its end."""
    part, _, advice = text.rpartition(" (")
    original, advice = (part, advice.removesuffix(")")) if part else (text, "it has no counterpart")
    draft.notes.append(Note(file=item.file, line=item.line, original=quoted_text(original), advice=advice))


def _take_entry(draft: Draft, item: Item, process: WebProcess) -> None:  # noqa: C901  one case for each way to name an app
    target = process.target
    if process.kind == "object" and ":" not in target:
        target += ":application" if process.server != "uvicorn" else ":app"
    if process.kind == "file" and process.server != "python":
        file, _, name = target.partition(":")
        target = f"{re.sub(r'[.](py|wsgi)$', '', file).strip('./').replace('/', '.')}:{name or 'application'}"
    if process.kind in {"object", "flask"} or (process.kind == "file" and process.server != "python"):
        if ENTRYPOINT.fullmatch(target):
            draft.fields["entrypoint"] = target
        elif target:
            note(draft, item, f"{target} (set the field 'entrypoint' to module:callable, unless detection finds it)")
    elif process.kind == "file":
        note(
            draft,
            item,
            f"python {target} (gunicorn serves the app object of this file; what runs it there does not run)",
        )
    if process.config:
        note(
            draft,
            item,
            f"--config {process.config} (gunicorn.conf.py at the top of the source is read; otherwise write"
            " its settings into the field 'gunicorn')",
        )
    if process.kind == "config" and process.server == "uwsgi":
        note(draft, item, f"{target} (import this file, too: reconciler import {target})")
    if process.worker_class and not process.worker_class.startswith(("uvicorn", "egg:")):
        draft.fields["worker_class"] = process.worker_class
    if process.chdir:
        path = str(draft.fields.get("path", "."))
        draft.fields["path"] = process.chdir if process.chdir.startswith("/") else f"{path}/{process.chdir}"
    if process.pythonpath:
        note(draft, item, f"pythonpath {' '.join(process.pythonpath)} (set PYTHONPATH in 'env', if the app needs it)")


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
        host, _, port = value.removeprefix("http://").removeprefix("tcp://").rpartition(":")
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
