"""Write manifests from the files of another platform.

PATH is a file, or a directory that has one: a Procfile with or without app.json (Heroku, Dokku), a compose file, a
manifest.yml of Cloud Foundry, a configuration of supervisord, a systemd unit, an ENV of Piku, a configuration of uWSGI,
or a deploy.yml of Kamal, a destination's as well. Where a directory has several kinds, the likeliest is taken; --from
chooses another.

Nothing of the files is executed. Whatever has no counterpart becomes a comment in the manifest, with its line. Secrets
are written to files of mode 0600 in secrets/ beside the manifests. No existing file is changed: if one differs, nothing
is written. Exits with 1 if nothing could be imported or written; --check writes nothing, and exits with 2 if something
has no counterpart.
"""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option, manifests_option, without_daemon
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain
from reconciler.linux.error_words import in_words
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.imports.importing import Imported
    from reconciler.inspection.imports.kinds import Found
    from reconciler.inspection.imports.ledger import Note

_KINDS = ("compose", "cloud-foundry", "kamal", "piku", "procfile", "supervisord", "systemd", "uwsgi")
_MOST_DIFFERENCES = 40


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler import ../apps/blog --check                  only say what would be imported",
        "reconciler import ../apps/blog --manifests /srv/manifests",
        "reconciler import docker-compose.yml --from compose",
    ),
)
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--check", is_flag=True, help="Say what would be written and what has no counterpart, and write nothing.")
@click.option("--from", "kind", type=click.Choice(_KINDS), help="The kind of files to read.  [default: the likeliest]")
@without_daemon(manifests_option, writes_unless="check")
@json_option
def command(settings: Settings, path: Path, check: bool, kind: str | None, as_json: bool) -> None:
    from reconciler.inspection.imports.foreign_text import Unreadable
    from reconciler.inspection.imports.importing import imported
    from reconciler.inspection.imports.kinds import found_in

    directory = settings.manifests.absolute()
    try:
        found = found_in(path.absolute())
        chosen = _chosen(found, kind, path)
        result = imported(chosen, directory)
    except Unreadable as error:
        raise click.ClickException(f"cannot import {error}") from error
    written = [] if check or result.problems else _write(result, directory)
    if as_json:
        show_json(_facts(result, chosen, written, directory))
    else:
        _tell(result, found, chosen, directory, check=check)
    if result.problems or not result.manifests:
        raise SystemExit(1)
    if check and (result.notes or any(manifest.notes for manifest in result.manifests)):
        raise SystemExit(2)


def _chosen(found: "list[Found]", kind: str | None, path: Path) -> "list[Found]":
    """Return the files of one kind. Raises ClickException if there are none."""
    if not found:
        raise click.ClickException(
            f"{path} has nothing that import knows: it reads {', '.join(_KINDS)} (see 'reconciler import --help');"
            " for a directory with code alone, use 'reconciler init'"
        )
    chosen = [each for each in found if each.kind == (kind or found[0].kind)]
    if not chosen:
        there = ", ".join(dict.fromkeys(each.kind for each in found))
        raise click.ClickException(f"{path} has no files of kind {kind}: it has {there}")
    return chosen


def _write(result: "Imported", directory: Path) -> list[Path]:
    """Write the manifests and secrets that are not there yet. Raises ClickException if one there differs."""
    missing: list[tuple[Path, str, int]] = []
    for manifest in result.manifests:
        for file, value in manifest.secrets.items():
            _require_same(directory / file, f"{value}\n", missing, secret=True)
        target = directory / f"{manifest.name}.yaml"
        if (other := target.with_suffix(".yml")).exists():
            raise click.ClickException(f"{other} already exists: nothing was written")
        _require_same(target, manifest.text, missing, secret=False)
    path = directory
    try:
        for path, text, mode in missing:
            path.parent.mkdir(mode=0o700 if mode == 0o600 else 0o777, parents=True, exist_ok=True)
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(opened, "w", encoding="utf-8") as file_:
                file_.write(text)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {in_words(error)}") from error
    return [path for path, _, _ in missing]


def _require_same(path: Path, text: str, missing: list[tuple[Path, str, int]], *, secret: bool) -> None:
    from reconciler.linux.regular_files import read_file

    try:
        there = read_file(path, 1 << 20).decode("utf-8", "replace")
    except FileNotFoundError:
        missing.append((path, text, 0o600 if secret else 0o666))
        return
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {in_words(error)}") from error
    if there == text:
        return
    if secret:
        raise click.ClickException(f"{path} already holds another value: nothing was written")
    lines = difflib.unified_diff(there.splitlines(), text.splitlines(), "there", "imported", lineterm="", n=0)
    differs = "\n".join(f"  {plain(line)}" for line in list(lines)[2 : 2 + _MOST_DIFFERENCES])
    raise click.ClickException(f"{path} already exists and differs, so nothing was written:\n{differs}")


def _tell(result: "Imported", found: "list[Found]", chosen: "list[Found]", directory: Path, *, check: bool) -> None:
    names = ", ".join(str(each.folder.path / name) for each in chosen for name in each.names)
    click.echo(plain(f"read {names} as {chosen[0].kind}"))
    others = [each for each in found if each not in chosen]
    unread = [(name, "its path instead of the directory's") for each in chosen for name in each.others]
    unread += [(", ".join(each.names), f"--from {each.kind}") for each in others]
    for name, instead in unread:
        click.echo(plain(f"not read: {name}; give {instead} for it"))
    for manifest in result.manifests:
        verb = "would write" if check else "wrote"
        click.echo(plain(f"{verb} {directory / manifest.name}.yaml ({manifest.kind})"))
        for file in manifest.secrets:
            click.echo(plain(f"{verb} {directory / file} (a secret, mode 0600)"))
    notes = [*(note for manifest in result.manifests for note in manifest.notes), *result.notes]
    if notes:
        click.echo(f"\nnot taken over ({counted(len(notes), 'item')}):")
    for note in notes:
        click.echo(plain(f"  {note.file}:{note.line}: {note.original}"))
        click.echo(plain(f"      {note.advice}"))
    _tell_absent(result)
    for problem in result.problems:
        click.echo(f"Error: {plain(problem)}", err=True)
    if not result.manifests:
        why = "" if notes or result.problems else ": it says nothing about an app"
        click.echo(f"nothing was imported{why}", err=True)
    elif not check and not result.problems:
        click.echo(f"\nnext: 'reconciler validate --manifests {directory}' checks the manifests with this host")


def _tell_absent(result: "Imported") -> None:
    for manifest in result.manifests:
        for path in manifest.absent:
            advice = "which is not on this host: put it there, or edit the manifest"
            click.echo(plain(f"\n{manifest.name}.yaml names {path}, {advice}"))


def _facts(result: "Imported", chosen: "list[Found]", written: list[Path], directory: Path) -> dict[str, object]:
    return {
        "kind": chosen[0].kind,
        "read": [str(each.folder.path / name) for each in chosen for name in each.names],
        "not_read": [str(each.folder.path / name) for each in chosen for name in each.others],
        "manifests": [
            {
                "name": manifest.name,
                "kind": manifest.kind,
                "file": str(directory / f"{manifest.name}.yaml"),
                "text": manifest.text,
                "secrets": [str(directory / file) for file in manifest.secrets],
                "not_taken_over": [_fact(note) for note in manifest.notes],
                "not_on_this_host": [*manifest.absent],
            }
            for manifest in result.manifests
        ],
        "not_taken_over": [_fact(note) for note in result.notes],
        "problems": result.problems,
        "written": [str(path) for path in written],
    }


def _fact(note: "Note") -> dict[str, object]:
    return {"file": note.file, "line": note.line, "original": note.original, "advice": note.advice}
