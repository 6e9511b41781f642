"""Show, set or remove environment variables of an app.

Without more words, lists the variables that the manifest of APP sets, with secrets masked, and where each comes from.
'set' and 'unset' change 'env' in the manifest, and leave everything else in it as it is; a running daemon rolls the
change out. A value is written as text, whatever it looks like. Other users of this host can see the words of a command
while it runs: 'reconciler secrets set' keeps a secret out of them, and out of the manifest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.manifest_changes import Changed, change, find, in_words, report, shown_variable
from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.table import show, show_json
from reconciler.documents.names import is_variable_name
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.settings.settings import Settings
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import is_secret_name, redacted

if TYPE_CHECKING:
    from reconciler.manifests.app_edits import AppEdits
    from reconciler.manifests.described import Described

_ENV = "env"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variable:
    """A variable as it may be shown, and the file and line that set it; no line for one of a file of many."""

    name: str
    value: str
    kind: str
    file: str
    line: int | None = None


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler config blog",
        "reconciler config blog set LOG_LEVEL=debug GREETING='hello world'",
        "reconciler config blog unset LOG_LEVEL",
    ),
)
@click.argument("app")
@click.argument("action", required=False, metavar="[set|unset]")
@click.argument("variables", nargs=-1, metavar="[NAME=VALUE|NAME]...")
@json_option
@host_options
def command(settings: Settings, app: str, action: str | None, variables: Sequence[str], as_json: bool) -> None:
    _require_form(app, action, variables)
    if action is None:
        _list(settings, find(settings, app), as_json=as_json)
    elif action == "set":
        given = dict(map(_assignment, variables))
        report(settings, _set(settings, app, given), as_json=as_json, nothing=f"{app} has these values already")
    else:
        names = [*dict.fromkeys(map(_name, variables))]
        changed = change(
            settings, app, [(_ENV, name) for name in names], lambda found, edits: _unset(settings, found, edits, names)
        )
        report(settings, changed, as_json=as_json, nothing="")


def _require_form(app: str, action: str | None, variables: Sequence[str]) -> None:
    """Raise UsageError for words that are not in the order of the command, without a value in the message."""
    if action is not None and action not in ("set", "unset"):
        if app in ("set", "unset"):
            raise click.UsageError(f"name the app first: reconciler config APP {app} …")
        if "=" in action:
            raise click.UsageError(f"to set a variable, write: reconciler config {app} set NAME=VALUE")
        raise click.UsageError("expected 'set' or 'unset' after the app")
    if action is not None and not variables:
        raise click.UsageError("name a variable, such as " + ("LOG_LEVEL=debug" if action == "set" else "LOG_LEVEL"))


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise click.UsageError("expected NAME=VALUE; a value with spaces needs quotes around it")
    return _name(name), value


def _name(word: str) -> str:
    if not is_variable_name(word):
        name = plain(word.partition("=")[0])
        raise click.UsageError(f"'{name}' cannot be a variable's name: letters, digits and '_', such as LOG_LEVEL")
    return word


# List


def _list(settings: Settings, found: "Described", *, as_json: bool) -> None:
    variables = {each.name: each for each in _of_files(settings, found)}
    variables |= {each.name: each for each in _of_env(found)}
    ordered = sorted(variables.values(), key=lambda each: each.name)
    if as_json:
        show_json(
            {
                "app": found.app,
                "manifest": found.file,
                "variables": [
                    {"name": each.name, "value": each.value, "from": each.kind, "file": each.file, "line": each.line}
                    for each in ordered
                ],
            }
        )
    elif not ordered:
        click.echo(f"{found.file} sets no variables; 'reconciler env {found.app}' shows all that the app gets")
    else:
        place = [each.file if each.line is None else f"{each.file}:{each.line}" for each in ordered]
        show(
            ("NAME", "VALUE", "FROM"),
            [(each.name, in_words(each.value), where) for each, where in zip(ordered, place, strict=True)],
        )


def _of_env(found: "Described") -> Iterator[_Variable]:
    assert found.tree is not None
    env = found.tree.given(_ENV)
    for name, node in ((name, env.parts[name]) for name in env.keys) if env else ():
        if node.keys:
            file = found.path_of(str(node.written_at("file")))
            yield _Variable(name=name, value=HIDDEN, kind="file", file=file)
        else:
            value = shown_variable(name, node)
            yield _Variable(name=name, value=value, kind="value", file=found.file, line=node.line)


def _of_files(settings: Settings, found: "Described") -> Iterator[_Variable]:
    """Yield the variables of files of many, the last of each name; a file that cannot be read is said to be so."""
    from reconciler.vault.dotenv import Unusable
    from reconciler.vault.secret_reader import SecretReader

    reader = SecretReader(settings)
    for path in _env_files(found):
        try:
            names = reader.variables_of(path)
        except Unusable as error:
            click.echo(plain(error), err=True)
            continue
        yield from (_Variable(name=name, value=HIDDEN, kind="env_files", file=str(path)) for name in names)


def _env_files(found: "Described") -> Iterator[Path]:
    assert found.tree is not None
    files = found.tree.given("env_files")
    yield from (Path(found.path_of(str(part.value))) for part in (files.parts.values() if files else ()))


# Set and unset


def _set(settings: Settings, app: str, given: dict[str, str]) -> Changed:
    from reconciler.documents.in_place import Text

    notes: list[str] = []

    def edit(found: "Described", edits: "AppEdits") -> None:
        notes.clear()
        for name, value in given.items():
            before = edits.tree.given(_ENV, name)
            if before is not None and before.keys:
                file = found.path_of(before.written_at("file"))
                notes.append(f"{name} no longer comes from {file}; that file stays as it is")
            elif before is not None and before.written == value:
                continue
            edits.set((_ENV, name), Text(value))

    changed = change(settings, app, [(_ENV, name) for name in given], edit)
    for name, value in given.items():
        if value and (is_secret_name(name) or redacted(value) != value):
            click.echo(_warning(app, name), err=True)
    return replace(changed, notes=tuple(notes))


def _warning(app: str, name: str) -> str:
    return (
        f"warning: {name} looks like a secret: it is readable in the manifest now, and other users of this host could"
        f" see it in the words of this command; 'reconciler secrets set {app} {name}' reads it from standard input, and"
        " keeps it in a file of its own"
    )


def _unset(settings: Settings, found: "Described", edits: "AppEdits", names: Sequence[str]) -> None:
    for name in names:
        if edits.tree.given(_ENV, name) is None:
            raise click.ClickException(_not_set(settings, found, edits, name))
    for name in names:
        edits.remove((_ENV, name))


def _not_set(settings: Settings, found: "Described", edits: "AppEdits", name: str) -> str:
    from difflib import get_close_matches

    for each in _of_files(settings, found):
        if each.name == name:
            return f"{name} of {found.app} comes from {each.file}: remove its line there"
    env = edits.tree.given(_ENV)
    meant = get_close_matches(name, env.keys, n=1) if env else []
    hint = f"; did you mean '{meant[0]}'?" if meant else ""
    return f"{found.file} sets no variable {name} of {found.app}{hint}; nothing was written"
