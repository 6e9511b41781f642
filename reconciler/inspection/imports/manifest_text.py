"""Write drafts as manifests: fields in a fixed order, a comment for each note, and secrets as files of their own."""

import os
import posixpath
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.documents.names import name_from
from reconciler.documents.schemas import schema_path
from reconciler.documents.written_scalars import scalar
from reconciler.inspection.imports.draft import Draft, Secret
from reconciler.inspection.imports.foreign_text import Folder
from reconciler.inspection.imports.ledger import Note
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.linux.listing import is_there
from reconciler.vault.secret_patterns import redacted

_ORDER = (
    "kind", "name", "type", "path", "web", "runtime", "entrypoint", "host", "port", "workers", "threads",
    "worker_class", "gunicorn", "env", "env_files", "services", "release", "health", "probation", "stop_timeout",
    "idle_after", "depends_on", "state", "watch",
)  # fmt: skip
_WIDTH = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A manifest to write: its text, and the files of its secrets with their values, relative to its directory.

    `absent` are the absolute paths in it that this host does not have.
    """

    name: str
    kind: str
    text: str
    notes: tuple[Note, ...]
    secrets: dict[str, str]
    absent: tuple[str, ...] = ()


def written(draft: Draft, origin: str, folder: Folder, directory: Path, general: tuple[Note, ...]) -> Written:
    """Return the manifest of a draft for a directory of manifests; `general` are notes on no draft in particular."""
    fields, secrets = _with_files(draft, folder, directory)
    values = frozenset(secrets.values())
    notes = tuple(
        Note(file=note.file, line=note.line, original=redacted(note.original, values), advice=note.advice)
        for note in (*draft.notes, *general)
    )
    lines = [
        f"# yaml-language-server: $schema={schema_path(draft.kind, directory)}",
        f"# Imported from {plain(origin)}.",
        *_fields(fields),
        *_comments(notes),
    ]
    text = "\n".join((*lines, ""))
    paths = (str(fields.get("path", "")), *map(str, fields.get("env_files", ())))
    absent = tuple(path for path in paths if path.startswith("/") and not is_there(path))
    return Written(name=draft.name, kind=draft.kind, text=text, notes=notes, secrets=secrets, absent=absent)


def _with_files(draft: Draft, folder: Folder, directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields with paths relative to the manifest and secrets as files, and the values of those."""
    fields = dict(draft.fields)
    if draft.kind == "service":
        return {"kind": "service", "name": draft.name, **fields}, {}
    fields["path"] = _relative(str(fields["path"]), folder, directory)
    if "env_files" in fields:
        fields["env_files"] = [_relative(file, folder, directory) for file in fields["env_files"]]
    secrets: dict[str, str] = {}
    env = {}
    for name, value in fields.get("env", {}).items():
        env[name] = value
        if isinstance(value, Secret):
            file = f"secrets/{draft.name}-{name_from(name) or 'secret'}"
            file = file if file not in secrets else f"secrets/{draft.name}-{name}"
            secrets[file] = value.value
            env[name] = {"file": file}
    if env:
        fields["env"] = env
    if "processes" in fields:
        fields["processes"] = {
            process: _with_secrets(given, f"{draft.name}-{process}", secrets) if isinstance(given, dict) else given
            for process, given in fields["processes"].items()
        }
    return fields, secrets


def _with_secrets(process: dict[str, Any], name: str, secrets: dict[str, str]) -> dict[str, Any]:
    """Return a process with the secrets of its own variables as files, whose values are put into `secrets`."""
    env = dict(process.get("env", {}))
    for variable, value in env.items():
        if isinstance(value, Secret):
            file = f"secrets/{name}-{name_from(variable) or 'secret'}"
            secrets[file] = value.value
            env[variable] = {"file": file}
    return {**process, "env": env} if env else process


def _relative(path: str, folder: Folder, directory: Path) -> str:
    if path.startswith("/"):
        return posixpath.normpath(path)
    return os.path.relpath((folder.path / path).resolve(), directory.resolve())


def _fields(fields: dict[str, Any]) -> Iterator[str]:
    for name in (*_ORDER, *(each for each in fields if each not in _ORDER)):
        if name not in fields:
            continue
        value = fields[name]
        if name == "env":
            yield "env:"
            yield from (f"  {variable}: {_flow(inner)}" for variable, inner in value.items())
        else:
            yield f"{name}: {_flow(value)}"


def _flow(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case dict():
            return f"{{{', '.join(f'{name}: {_flow(inner)}' for name, inner in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            return scalar(str(value))


def _comments(notes: tuple[Note, ...]) -> Iterator[str]:
    if not notes:
        return
    yield "#"
    yield "# Not taken over:"
    for note in notes:
        yield f"# {plain(note.file)}:{note.line}: {plain(note.original)}"
        for line in textwrap.wrap(plain(note.advice), _WIDTH):
            yield f"#     {line}"
