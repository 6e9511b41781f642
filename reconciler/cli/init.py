"""`reconciler init`: a manifest for a directory, from what is found in it."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import click

from reconciler.cli.options import examples, manifests_option, with_settings
from reconciler.documents.names import is_name, name_from
from reconciler.inspection.printable import plain
from reconciler.settings.settings import Settings

T = TypeVar("T")

_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What detection says of a directory: comment lines, the runtime it is pinned to, and what stays open."""

    comments: tuple[str, ...]
    runtime: str | None
    doubts: tuple[str, ...]


@click.command(
    epilog=examples("reconciler init ../apps/blog", "reconciler init . --name shop --manifests /srv/manifests --print")
)
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--name", help="The app's name.  [default: the directory's]")
@click.option("--print", "only_print", is_flag=True, help="Print the manifest instead of writing it.")
@with_settings(manifests_option)
def command(settings: Settings, path: Path, name: str | None, only_print: bool) -> None:
    """Write a manifest for the app in PATH, by looking at its files; a manifest that is there is never overwritten."""
    chosen = _name(path, name)
    found = _look(path, settings.interpreters)
    target = settings.manifests / f"{chosen}.yaml"
    text = _text(path, target.parent, found)
    _must_be_valid(target, text)
    if only_print:
        click.echo(text, nl=False)
    else:
        _write(target, text)
        click.echo(f"wrote {target}")
    for doubt in found.doubts:
        click.echo(f"to do: {plain(doubt)}", err=True)
    if not only_print:
        click.echo("next: 'reconciler validate' checks it, 'reconciler run' serves it")


def _name(path: Path, asked: str | None) -> str:
    name = path.resolve().name if asked is None else asked
    if asked is None:
        name = name_from(name)
    if not is_name(name):
        what = f"'{plain(asked)}' is no app name" if asked is not None else "the directory's name makes no app name"
        raise click.ClickException(f"{what}: give --name, at most 63 lower-case letters, digits and inner hyphens")
    return name


def _look(path: Path, interpreters: tuple[str, ...]) -> _Found:
    from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
    from reconciler.staging.detection.entry_point import detect
    from reconciler.staging.detection.python_version import choose_runtime
    from reconciler.staging.detection.runtimes import discover

    doubts: list[str] = []
    entry = _unless(doubts, lambda: detect(path, None))
    choice = _unless(doubts, lambda: choose_runtime(discover(interpreters), None, path))
    needed = _unless(doubts, lambda: dependencies(path, DependencyOptions()))
    comments = []
    if entry is not None:
        within = f" in {entry.chdir}" if entry.chdir else ""
        kind = "an ASGI app" if entry.interface == "asgi" else "a WSGI app"
        comments.append(f"Found {kind}, {entry.target}{within}{_of_django(entry.settings)}.")
    if needed is not None:
        comments.append(f"Its dependencies are in {needed.file}." if needed.file else "It has no dependency file.")
    if choice is not None:
        comments.append(f"It runs on {choice.runtime.description} ({choice.because}).")
    runtime = choice.runtime.name if choice is not None and choice.pinned else None
    return _Found(comments=tuple(comments), runtime=runtime, doubts=tuple(doubts))


def _unless(doubts: list[str], look: Callable[[], T]) -> T | None:
    """What a look finds; nothing, and a doubt more, when it cannot tell."""
    from reconciler.staging.errors import StagingError

    try:
        return look()
    except (StagingError, OSError) as error:
        doubts.append(str(error))
        return None


def _of_django(settings: str | None) -> str:
    return f", made for the Django settings {settings}" if settings else ""


def _text(path: Path, directory: Path, found: _Found) -> str:
    relative = os.path.relpath(path.resolve(), directory.resolve())
    return "\n".join((*_comments(directory, found), f"path: {_scalar(relative)}", *_fields(found), ""))


def _comments(directory: Path, found: _Found) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={_schema(directory)}"
    for line in (*found.comments, *(f"To do: {doubt}" for doubt in found.doubts)):
        for part in line.splitlines():
            yield f"# {plain(part)}"


def _fields(found: _Found) -> Iterator[str]:
    if found.runtime is not None:
        yield f"runtime: {found.runtime}"


def _scalar(text: str) -> str:
    """The text as YAML reads it back: as it is where that is plain, else in quotes."""
    from reconciler.documents.scalars import value_of

    text = f"./{text}" if text.startswith("~") else text
    return text if _PLAIN.fullmatch(text) and value_of(text) == text else json.dumps(text, ensure_ascii=False)


def _schema(directory: Path) -> str:
    """Where the schema is: relative when it is near, so that a checkout can move."""
    package = Path(str(files("reconciler")))
    inside = package / "schemas"
    schema = (inside if inside.is_dir() else package.parent / "schemas") / "app.schema.json"
    here = directory.resolve()
    near = here.parent in {schema.parent.parent, *schema.parent.parents[:2]}
    return os.path.relpath(schema, here) if near else str(schema)


def _must_be_valid(target: Path, text: str) -> None:
    """What is written must validate; a path that no manifest can hold is told instead."""
    from reconciler.manifests.app_document import HostDefaults
    from reconciler.manifests.parse import parse

    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise click.ClickException("the path is not UTF-8, and a manifest cannot name it: rename it") from error
    for problem in parse(str(target), content, HostDefaults()).problems:
        raise click.ClickException(f"no manifest can describe this: {problem}")


def _write(target: Path, text: str) -> None:
    for other in (target, target.with_suffix(".yml")):
        if other.exists():
            raise click.ClickException(f"{other} exists and is left as it is: give another --name, or edit it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"cannot write {target}: {error.strerror}") from error
