"""Change the manifest of an app in place: find it, check what it would be, replace it, and say what was written.

A result that would be refused is not written. A change that another program makes meanwhile is found, and the edit is
made again on top of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.next_step import next_step
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain, quoted
from reconciler.linux.dataclass import dataclass
from reconciler.settings.settings import Settings
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import masked

if TYPE_CHECKING:
    from reconciler.documents.tree import Node
    from reconciler.manifests.app_edits import AppEdits
    from reconciler.manifests.described import Described

_TRIES = 5
_REFERENCE = "{file: "


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A field before and after, as it may be shown; None where it is not given. `line` counts from 1."""

    path: tuple[str, ...]
    line: int
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was written to a manifest; nothing, if there are no changes."""

    app: str
    file: str
    changes: tuple[FieldChange, ...] = ()
    notes: tuple[str, ...] = field(default=())


def change(
    settings: Settings,
    app: str,
    paths: Sequence[tuple[str, ...]],
    edit: "Callable[[Described, AppEdits], None]",
    before_writing: "Callable[[Described], None] | None" = None,
) -> Changed:
    """Edit the fields at `paths` of an app's document, and write its file.

    `before_writing` is called once the result is known to be valid. Raises ClickException if the app has no manifest
    that can be edited, the result would be refused, or it cannot be written.
    """
    from reconciler.documents.in_place import CannotEdit
    from reconciler.linux.shared_files import ChangedMeanwhile
    from reconciler.manifests.app_edits import AppEdits

    for _ in range(_TRIES):
        found = find(settings, app)
        edits = AppEdits(found)
        try:
            edit(found, edits)
            content, tree = edits.content, edits.tree
        except CannotEdit as error:
            raise click.ClickException(
                f"cannot change {found.file} in place: {plain(error)}; 'reconciler edit {app}' opens it in your editor"
            ) from error
        changes = tuple(_changes(found.tree, tree, paths))
        if content != found.content:
            require_valid(settings, found, content)
        if before_writing is not None:
            before_writing(found)
        if content == found.content:
            return Changed(app=app, file=found.file)
        try:
            write(found, content)
        except ChangedMeanwhile:
            continue
        return Changed(app=app, file=found.file, changes=changes)
    raise click.ClickException(f"another program keeps changing the manifest of {app}: nothing was written; try again")


def find(settings: Settings, app: str, *, broken: bool = False) -> "Described":
    """Return the document that describes an app; with `broken`, also a file with its name that is not valid YAML.

    Raises ClickException.
    """
    from reconciler.manifests.described import NotDescribed, described, file_of
    from reconciler.manifests.origins import look_once

    try:
        return (file_of if broken else described)(look_once(settings), app)
    except NotDescribed as error:
        raise Failure("not-found", plain(error)) from error


def problems_with(settings: Settings, found: "Described", content: bytes) -> list[str]:
    """Return why a daemon would refuse the file with this content, one problem each."""
    from reconciler.inspection.manifests import checked

    entry = checked(settings, {found.file: content}).files.get(found.file)
    return [] if entry is None else [plain(problem) for problem in entry.problems]


def require_valid(settings: Settings, found: "Described", content: bytes) -> None:
    """Raise Failure if a daemon would refuse the file with this content."""
    if problems := problems_with(settings, found, content):
        listed = "\n".join(f"  {problem}" for problem in problems)
        as_before = problems_with(settings, found, found.content)
        also = f"; it is refused as it is, too: 'reconciler edit {found.app}' opens it" if as_before else ""
        raise Failure("manifest-errors", f"nothing was written, because the manifest would be refused{also}:\n{listed}")


def write(found: "Described", content: bytes) -> None:
    """Replace the content of a manifest. Raises ChangedMeanwhile, or ClickException if it cannot be written."""
    from reconciler.linux.shared_files import rewrite

    try:
        rewrite(Path(found.file), found.content, content)
    except OSError as error:
        raise click.ClickException(f"cannot write {found.file}: {error.strerror or error}") from error


def shown_variable(name: str, node: "Node") -> str:
    """Return the value of a variable as a manifest has it, hidden if it is a secret."""
    if node.keys:
        return f"{_REFERENCE}{node.written_at('file')}}}"
    return masked({name: "" if node.written is None else str(node.written)})[name]


def in_words(value: str) -> str:
    """Return the value of a variable quoted for a shell, as `env` prints it."""
    return value if value == HIDDEN or value.startswith(_REFERENCE) else quoted(value)


def report(settings: Settings, changed: Changed, *, as_json: bool, nothing: str) -> None:
    """Print what was written, or `nothing`, and what applies it."""
    if as_json:
        show_json(
            {
                "app": changed.app,
                "manifest": changed.file,
                "changes": [
                    {"field": ".".join(each.path), "line": each.line, "old": each.old, "new": each.new}
                    for each in changed.changes
                ],
                "notes": changed.notes,
            }
        )
        return
    for each in changed.changes:
        values = " → ".join("(not set)" if value is None else in_words(value) for value in (each.old, each.new))
        click.echo(plain(f"{changed.file}:{each.line}: {each.path[-1]}: {values}"))
    for note in changed.notes:
        click.echo(plain(note))
    if not changed.changes:
        click.echo(plain(nothing))
    else:
        click.echo(plain(next_step(settings, changed.app, "applies it")))


def _changes(before: "Node | None", after: "Node", paths: Sequence[tuple[str, ...]]) -> "list[FieldChange]":
    found = []
    for path in dict.fromkeys(paths):
        old, new = None if before is None else before.given(*path), after.given(*path)
        was, is_now = _shown(path, old), _shown(path, new)
        line = _line(after, path) if new is not None else 0 if before is None else _line(before, path)
        if (old is None) != (new is None) or (old and new and old.value != new.value):
            found.append(FieldChange(path=path, line=line, old=was, new=is_now))
    return found


def _line(tree: "Node", path: tuple[str, ...]) -> int:
    """Return the line of a field's name."""
    *outer, name = path
    return tree.at(tuple(outer)).keys.get(name, (0, 0))[0]


def _shown(path: tuple[str, ...], node: "Node | None") -> str | None:
    if node is None:
        return None
    return shown_variable(path[-1], node) if path[0] == "env" else str(node.written)
