"""Write a manifest for a directory.

The manifest holds what can be detected from the files in PATH. What only you can decide is in it as comments: variables
that the app reads without a default, the command of its migrations, extras. An existing manifest is never overwritten.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler.cli.next_step import next_step
from reconciler.cli.options import examples, json_option, manifests_option, without_daemon
from reconciler.cli.table import show_json
from reconciler.documents.names import is_name, name_from
from reconciler.documents.schemas import schema_path
from reconciler.documents.written_scalars import scalar
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.staging.detection.dependencies import Dependencies
    from reconciler.staging.detection.programs.program import ServingProgram
    from reconciler.staging.detection.target import EntryPoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was detected in a directory: comment lines, the runtime it is pinned to, where it keeps data, and doubts.

    `proposed` are fields, as lines, that only an operator can decide on.
    """

    comments: tuple[str, ...]
    runtime: str | None
    persist: tuple[str, ...]
    doubts: tuple[str, ...]
    proposed: tuple[str, ...]


@click.command(
    help=__doc__,
    epilog=examples("reconciler init ../apps/blog", "reconciler init . --name shop --manifests /srv/manifests --print"),
)
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--name", help="The app's name.  [default: the directory's name]")
@click.option("--print", "only_print", is_flag=True, help="Print the manifest instead of writing it.")
@json_option
@without_daemon(manifests_option, writes_unless="only_print")
def command(settings: Settings, path: Path, name: str | None, only_print: bool, as_json: bool) -> None:
    chosen = _name(path, name)
    if not only_print:
        _require_outside(path, settings.manifests)
    found = _detect(path, settings.interpreters)
    target = settings.manifests / f"{chosen}.yaml"
    text = _text(path, target.parent, found)
    _must_be_valid(target, text)
    if not only_print:
        _write(target, text)
    if as_json:
        show_json(
            {
                "app": chosen,
                "manifest": str(target),
                "written": not only_print,
                "text": text,
                "to_do": [*found.doubts, *_of_proposals(found)],
            }
        )
        return
    click.echo(text, nl=False) if only_print else click.echo(f"wrote {target}")
    for doubt in (*found.doubts, *_of_proposals(found)):
        click.echo(f"to do: {plain(doubt)}", err=True)
    if not only_print:
        check = f"next: 'reconciler validate --manifests {settings.manifests}' checks it; "
        click.echo(next_step(settings, chosen, "serves it", without_daemon=check))


def _of_proposals(found: _Found) -> Iterator[str]:
    names = [line.partition(":")[0] for line in found.proposed if not line.startswith(" ")]
    if names:
        yield f"the manifest proposes {', '.join(names)}, as a comment: fill in what applies"


def _require_outside(path: Path, directory: Path) -> None:
    """Refuse to write inside the app. Raises ClickException."""
    source = path.resolve()
    if directory.resolve().is_relative_to(source):
        beside = source.with_name("manifests")
        raise click.ClickException(
            f"{directory} is inside the app's own directory, so every edit of a manifest would deploy the app again:"
            f" give a directory outside it, such as --manifests {beside}"
        )


def _name(path: Path, given: str | None) -> str:
    name = path.resolve().name if given is None else given
    if given is None:
        name = name_from(name)
    if not is_name(name):
        what = (
            f"'{plain(given)}' is not a valid app name"
            if given is not None
            else "the directory's name cannot be an app name"
        )
        raise click.ClickException(f"{what}: give --name with at most 63 lower-case letters, digits and inner hyphens")
    return name


def _detect(path: Path, interpreters: tuple[str, ...]) -> _Found:
    from reconciler.planning.apps.revision import Recipe
    from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
    from reconciler.staging.detection.entry_point import detect
    from reconciler.staging.detection.local_data import local_data
    from reconciler.staging.detection.programs.recognition import serving_program
    from reconciler.staging.detection.python_version import choose_runtime
    from reconciler.staging.detection.runtimes import discover
    from reconciler.staging.detection.selection import python_of_lock
    from reconciler.staging.detection.unread import missing_packages, unread_files

    doubts: list[str] = []
    program = _unless(doubts, lambda: serving_program(path, Recipe()))
    if program is not None:
        return _of_program(program, doubts)
    entry = _unless(doubts, lambda: detect(path, None))
    needed = _unless(doubts, lambda: dependencies(path, DependencyOptions()))
    lock = None if needed is None else python_of_lock(needed)
    choice = _unless(doubts, lambda: choose_runtime(discover(interpreters), None, path, lock))
    comments = []
    if entry is not None:
        within = f" in {entry.chdir}" if entry.chdir else ""
        kind = "an ASGI app" if entry.interface == "asgi" else "a WSGI app"
        comments.append(f"Detected {kind}, {entry.target}{within}{_of_django(entry.settings)}.")
    if needed is not None:
        comments.append(f"Its dependencies are in {needed.file}." if needed.file else "It has no dependency file.")
    if entry is not None and needed is not None:
        ignored = (*entry.reported, *unread_files(path, needed))
        comments += [f"Ignored: {each}." for each in ignored]
        missing = missing_packages(path, entry) if needed.kind == "none" else ""
        doubts += filter(None, (missing,))
    if choice is not None:
        comments.append(f"It runs on {choice.runtime.description} ({choice.because}).")
        comments += [f"{choice.note}."] if choice.note else []
    runtime = choice.runtime.name if choice is not None and choice.pinned else None
    persist = local_data(path)
    if persist:
        comments.append("Its settings keep data beside the code, which 'persist' takes along from deploy to deploy.")
    proposed = _unless(doubts, lambda: _proposed(path, entry, needed)) if entry is not None else None
    return _Found(
        comments=tuple(comments),
        runtime=runtime,
        persist=persist,
        doubts=tuple(doubts),
        proposed=() if proposed is None else proposed,
    )


def _of_program(program: "ServingProgram", doubts: list[str]) -> _Found:
    """Return what is said of an app that is not Python's."""
    from reconciler.staging.detection.programs.languages import how_to_install, missing_programs

    comments = [f"Detected {shlex.join(program.command)} (listen: {program.listen}; {program.because})."]
    if program.build:
        comments.append(f"It is built by {shlex.join(program.build)}.")
    comments += [f"Ignored: {each}." for each in program.reported]
    comments += [f"{note[:1].upper()}{note[1:]}." for note in program.notes]
    for _, name in missing_programs(build=program.build, command=program.command):
        doubts.append(f"there is no program '{name}' on this host: {how_to_install(name)}")
    return _Found(comments=tuple(comments), runtime=None, persist=(), doubts=tuple(doubts), proposed=())


def _proposed(path: Path, entry: "EntryPoint", needed: "Dependencies | None") -> tuple[str, ...]:
    """Return the fields that the app is likely to need and that its files do not decide."""
    from reconciler.staging.detection.missing_extras import missing_extras
    from reconciler.staging.detection.release_advice import migration
    from reconciler.staging.detection.required_variables import required_variables

    lines = []
    variables = required_variables(path, entry)
    if variables:
        lines.append("env:  # what its files read without a default")
        lines += [f"  {each.name}: {_scalar(each.value)}  # {each.file}" for each in variables]
    extras = () if needed is None else missing_extras(path, entry, needed)
    if needed is not None and extras:
        lines.append(f"dependencies: {{file: {_scalar(needed.file)}, extras: [{', '.join(map(_scalar, extras))}]}}")
    command = "" if entry.release else migration(path, entry)
    if command:
        within = f", in {entry.chdir}" if entry.chdir else ""
        lines.append(f"release: {_scalar(command)}  # before each deploy{within}")
    return tuple(lines)


def _unless(doubts: list[str], detect: Callable[[], T]) -> T | None:
    """Return what a detection finds; None if it cannot tell, and add why to the doubts."""
    from reconciler.staging.errors import StagingError

    try:
        return detect()
    except (StagingError, OSError) as error:
        doubts.append(str(error))
        return None


def _of_django(settings: str | None) -> str:
    return f", for the Django settings {settings}" if settings else ""


def _text(path: Path, directory: Path, found: _Found) -> str:
    relative = os.path.relpath(path.resolve(), directory.resolve())
    return "\n".join(
        (*_comments(directory, found), f"path: {_scalar(relative)}", *_fields(found), *_proposals(found), "")
    )


def _comments(directory: Path, found: _Found) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={schema_path('app', directory)}"
    for line in (*found.comments, *(f"To do: {doubt}" for doubt in found.doubts)):
        for part in line.splitlines():
            yield f"# {plain(part)}"


def _fields(found: _Found) -> Iterator[str]:
    if found.runtime is not None:
        yield f"runtime: {found.runtime}"
    if found.persist:
        yield f"persist: [{', '.join(map(_scalar, found.persist))}]"


def _proposals(found: _Found) -> Iterator[str]:
    if found.proposed:
        yield "# To do: fill in what applies of this, and remove the '# ' before it:"
        yield from (f"# {plain(line)}" for line in found.proposed)


def _scalar(text: str) -> str:
    """Write the text as a YAML scalar; a path that begins with `~` is none of a home directory."""
    return scalar(f"./{text}" if text.startswith("~") else text)


def _must_be_valid(target: Path, text: str) -> None:
    """Require that the manifest is valid. Raises ClickException for a path that no manifest can hold."""
    from reconciler.manifests.app_document import HostDefaults
    from reconciler.manifests.parse_file import parse

    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise click.ClickException("the path is not UTF-8, so a manifest cannot name it: rename it") from error
    for problem in parse(str(target), content, HostDefaults()).problems:
        raise click.ClickException(f"a manifest cannot describe this: {problem}")


def _write(target: Path, text: str) -> None:
    for other in (target, target.with_suffix(".yml")):
        if other.exists():
            raise click.ClickException(f"{other} already exists: give another --name, or edit it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"cannot write {target}: {in_words(error)}") from error
