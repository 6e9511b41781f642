"""Edit the manifest of an app, and check it before it is saved.

Opens a copy of the file in $VISUAL or $EDITOR. The manifest is replaced once the copy is valid; until then, it stays as
it is. Where the copy has mistakes, prints them and asks whether to edit it again. A copy that is not saved is kept, and
the command says where.
"""

import os
import shlex
import shutil
import signal
import stat
import sys
from difflib import SequenceMatcher
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import click

from reconciler.cli.manifest_changes import find, problems_with, write
from reconciler.cli.next_step import next_step
from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.table import is_terminal, show_json
from reconciler.documents.text import LARGEST_MANIFEST
from reconciler.inspection.printable import plain
from reconciler.linux.error_words import in_words
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.described import Described

_STANDARD_ERROR = 2
_EDITORS = ("editor", "sensible-editor", "nano", "vim", "vi")


@click.command(help=__doc__, epilog=examples("reconciler edit blog", "EDITOR='code --wait' reconciler edit blog"))
@click.argument("app")
@json_option
@host_options
def command(settings: Settings, app: str, as_json: bool) -> None:
    from reconciler.linux.shared_files import ChangedMeanwhile

    found, editor = find(settings, app, broken=True), _editor()
    copy = _copied(found)
    content = _edited(settings, found, copy, editor)
    if content is not None:
        try:
            write(found, content)
        except ChangedMeanwhile:
            raise click.ClickException(
                f"{found.file} was changed by another program while you edited it, and stays as that left it;"
                f" {_kept(copy)}"
            ) from None
        except click.ClickException as error:
            raise click.ClickException(f"{error.message}; {_kept(copy)}") from error
    _remove(copy)
    _report(settings, found, content, as_json=as_json)


def _editor() -> list[str]:
    """Return the words that start the editor. Raises ClickException."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    try:
        words = shlex.split(chosen or "")
    except ValueError as error:
        raise click.ClickException(f"cannot read $VISUAL or $EDITOR: {error}") from error
    if not words:
        words = [name for name in _EDITORS if shutil.which(name)][:1]
    if not words or shutil.which(words[0]) is None:
        raise click.ClickException(
            f"there is no editor '{plain(words[0])}'" if words else "set $EDITOR to the editor that you use"
        )
    return words


def _copied(found: "Described") -> Path:
    """Write the copy that is edited: hidden beside the manifest, or where other users cannot replace it."""
    from reconciler.linux.shared_files import write_private

    directory, name = Path(found.file).parent, f".{Path(found.file).stem}.edit-{token_hex(4)}.yaml"
    try:
        if not _is_private(directory):
            directory, name = Path(mkdtemp(prefix="reconciler-edit-")), Path(found.file).name
        write_private(directory / name, found.content, None)
    except OSError as error:
        raise click.ClickException(f"cannot write a copy to {directory}: {error.strerror or error}") from error
    return directory / name


def _is_private(directory: Path) -> bool:
    """Return whether no other user can put something else in the place of a file in this directory."""
    status = directory.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _remove(copy: Path) -> None:
    copy.unlink(missing_ok=True)
    if not copy.name.startswith("."):
        copy.parent.rmdir()


def _edited(settings: Settings, found: "Described", copy: Path, editor: list[str]) -> bytes | None:
    """Have the copy edited until it is valid; return its content, None if it is as it was.

    Raises ClickException, which says where the copy is kept, if the operator gives up.
    """
    while True:
        code = _run([*editor, str(copy)])
        content = _read(copy)
        if content == found.content:
            if code == 0:
                return None
            _remove(copy)
            raise click.ClickException(f"{editor[0]} exited with {code}; nothing was changed")
        if code != 0:
            raise click.ClickException(f"{editor[0]} exited with {code}; {found.file} stays as it was; {_kept(copy)}")
        problems = [*problems_with(settings, found, content), *_lost(found, content)]
        if not problems:
            return content
        for problem in problems:
            click.echo(problem, err=True)
        if not (sys.stdin.isatty() and click.confirm("Edit it again?", default=True, err=True)):
            raise click.ClickException(f"{found.file} stays as it was; {_kept(copy)}")


def _run(words: list[str]) -> int:
    """Run the editor until it exits, and return its exit code; Ctrl-C is the editor's alone.

    What it prints is no part of this command's output: where that is no terminal, it goes to standard error.
    """
    import subprocess

    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run(words, stdout=None if is_terminal() else _STANDARD_ERROR, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _read(copy: Path) -> bytes:
    from reconciler.linux.regular_files import read_file

    try:
        return read_file(copy, LARGEST_MANIFEST)
    except FileNotFoundError:
        raise click.ClickException("the editor removed the copy; nothing was changed") from None
    except OSError as error:
        raise click.ClickException(f"cannot read what was edited: {in_words(error)}; {_kept(copy)}") from error


def _lost(found: "Described", content: bytes) -> list[str]:
    """Return a problem if the file describes the app no more: to remove an app is another matter than to edit it."""
    from reconciler.manifests.described import NotDescribed, described
    from reconciler.manifests.origin import Listing

    listing = Listing(origin=os.path.dirname(found.file), files={found.file: content}, identity=(0, 0))  # noqa: PTH120  text
    try:
        described([listing], found.app)
    except NotDescribed:
        gone = f"{found.file} would not describe {found.app} any more, which would remove the app"
        return [f"{gone}: to rename or remove it, edit the file itself"]
    return []


def _kept(copy: Path) -> str:
    return f"your text is kept in {copy}"


def _report(settings: Settings, found: "Described", content: bytes | None, *, as_json: bool) -> None:
    before = found.content.splitlines()
    after = before if content is None else content.splitlines()
    parts = [part for part in SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if part[0] != "equal"]
    removed, added = sum(part[2] - part[1] for part in parts), sum(part[4] - part[3] for part in parts)
    if as_json:
        show_json({
            "app": found.app, "manifest": found.file, "changed": content is not None,
            "lines_removed": removed, "lines_added": added,
        })  # fmt: skip
    elif content is None:
        click.echo(plain(f"{found.file} stays as it was"))
    else:
        first = f"{found.file}:{parts[0][3] + 1}" if parts else found.file
        click.echo(plain(f"{first}: {counted(removed, 'line')} removed, {added} added"))
        click.echo(plain(next_step(settings, found.app, "applies it")))
