"""Set or remove a secret variable; list who can open a file.

'set' reads the value of NAME from standard input, or asks for it on a terminal without showing it. It is written to a
file that only the daemon's user may read: the one that the manifest of APP names, otherwise secrets/APP.NAME beside the
manifest, which then refers to it. With 'git.recipients' in the host's settings, a new file is encrypted with age, and
named secrets/APP.NAME.age. A last line break is no part of the value. 'unset' removes the reference, and the file if it
is such a one and no other app uses it. The value is never printed. 'recipients' lists to whom FILE is encrypted, with
age or SOPS, and exits with 1 if this user cannot open it with the identities of the host's settings.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.manifest_changes import Changed, change, report
from reconciler.cli.options import examples, host_options, json_option
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.app_edits import AppEdits
    from reconciler.manifests.described import Described

_FOLDER = "secrets"
_LONGEST = 128 * 1024


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler secrets set blog SECRET_KEY < key.txt",
        "openssl rand -hex 32 | reconciler secrets set blog SECRET_KEY",
        "reconciler secrets unset blog SECRET_KEY",
        "reconciler secrets recipients secrets/blog.sops.env",
    ),
)
@click.argument("action", type=click.Choice(("set", "unset", "recipients")))
@click.argument("app", metavar="APP|FILE")
@click.argument("variable", metavar="[NAME]", required=False)
@json_option
@host_options
def command(settings: Settings, action: str, app: str, variable: str | None, as_json: bool) -> None:
    if action == "recipients":
        if variable is not None:
            raise click.UsageError("'recipients' takes one FILE")
        _tell_recipients(settings, Path(app), as_json=as_json)
        return
    if variable is None:
        raise click.UsageError(f"'{action}' takes the NAME of a variable after the app")
    if "=" in variable:
        raise click.UsageError(
            "give only the name: the value is read from standard input, as the words of a command can be seen by others"
        )
    if action == "set":
        nothing = f"{app} takes {variable} from that file already"
        report(settings, _set(settings, app, variable), as_json=as_json, nothing=nothing)
    else:
        report(settings, _unset(settings, app, variable), as_json=as_json, nothing="")


# Set


def _set(settings: Settings, app: str, name: str) -> Changed:
    from reconciler.documents.in_place import FileReference

    content, owner = _value(name), _owner(settings)
    written: list[tuple[Path, bool]] = []
    suffix = ".age" if settings.recipients else ""

    def edit(_: "Described", edits: "AppEdits") -> None:
        given = edits.tree.given("env", name)
        if given is None or not given.keys:
            edits.set(("env", name), FileReference(f"{_FOLDER}/{app}.{name}{suffix}"))

    def write_file(found: "Described") -> None:
        own = _own_file(found, name, suffix)
        file = _file(found, name) or own
        encrypted = _encrypted(settings, file, content)
        written.append((file, _write(file, encrypted or content, owner, folder=file == own, hidden=encrypted is None)))

    try:
        changed = change(settings, app, [("env", name)], edit, write_file)
    except BaseException:
        _undo(written)
        raise
    file = written[-1][0]
    notes = [f"wrote {file}, {_for_whom(file)}", *_shared(settings, app, name, file)]
    return Changed(app=app, file=changed.file, changes=changed.changes, notes=tuple(notes))


def _encrypted(settings: Settings, file: Path, content: bytes) -> bytes | None:
    """Return what to write in place of a value: None for a file that is to be plain. Raises ClickException."""
    from reconciler.vault.dotenv import Unusable, bytes_of
    from reconciler.vault.encryption.recognition import Encryption, encryption_of

    try:
        before = encryption_of(bytes_of(file)) if file.exists() else None
    except Unusable as error:
        raise click.ClickException(f"{plain(error)}; nothing was written") from None
    if before is Encryption.SOPS:
        raise click.ClickException(f"{file} is encrypted with SOPS: change it with 'sops edit'; nothing was written")
    if before is None and (file.exists() or not settings.recipients) and not file.name.endswith(".age"):
        return None
    if not settings.recipients:
        raise click.ClickException(
            f"{file} is encrypted with age, and the host's settings do not say to whom: name 'git.recipients' in"
            f" {settings.place}; nothing was written"
        )
    from reconciler.vault.encryption.age import BadRecipient, sealed
    from reconciler.vault.encryption.identities import NoPackage

    try:
        return sealed(content, settings.recipients)
    except BadRecipient as error:
        raise click.ClickException(f"git.recipients of {settings.place}: {error}; nothing was written") from None
    except NoPackage as error:
        raise click.ClickException(f"encrypting with age needs a package: {error}; nothing was written") from None


def _for_whom(file: Path) -> str:
    """Return who may see a file that was written, as the end of a sentence."""
    if not _is_encrypted(file):
        return "which only its owner may read"
    ignore = file.parent / ".gitignore"
    if ignore.exists():
        return f"encrypted with age: it may be committed once {ignore}, made for plain secrets, lets it"
    return "encrypted with age: it may be committed"


def _is_encrypted(file: Path) -> bool:
    from reconciler.vault.dotenv import Unusable, bytes_of
    from reconciler.vault.encryption.recognition import encryption_of

    try:
        return encryption_of(bytes_of(file)) is not None
    except Unusable:
        return False


def _value(name: str) -> bytes:
    """Read the value of a secret. Raises ClickException if it cannot be one; it is never in the message."""
    if sys.stdin.isatty():
        content = str(click.prompt(f"{name} (not shown)", hide_input=True, err=True)).encode(errors="surrogateescape")
    else:
        content = sys.stdin.buffer.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise click.ClickException(f"the value of {name} is longer than the 128 KiB that a variable may have")
    if b"\0" in content:
        raise click.ClickException(f"the value of {name} has a NUL character, which no variable can hold")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"the value of {name} is not UTF-8 text") from None
    if not content.strip():
        raise click.ClickException(f"there is no value of {name} on standard input; nothing was written")
    return content


def _owner(settings: Settings) -> tuple[int, int] | None:
    """Return who must be able to read the file, None for this user: the daemon's user. Raises ClickException."""
    try:
        state = settings.paths.state.stat()
    except OSError:
        return None
    if state.st_uid == os.geteuid():
        return None
    if os.geteuid() == 0:
        return state.st_uid, state.st_gid
    from reconciler.state.ownership import user

    raise click.ClickException(
        f"the daemon of {settings.paths.state} runs as {user(state.st_uid)}, which could not read a secret file of"
        f" {user(os.geteuid())}: run this command as that user, or as root"
    )


def _write(file: Path, content: bytes, owner: tuple[int, int] | None, *, folder: bool, hidden: bool) -> bool:
    """Write the file, in a `folder` of ours that is created; one that is `hidden` from git. Return whether it is new.

    Raises ClickException.
    """
    from reconciler.linux.shared_files import make_private_directory, write_private

    try:
        is_new = folder and make_private_directory(file.parent, owner)
        if is_new and hidden and _is_in_git(file.parent):
            write_private(file.parent / ".gitignore", b"*\n", owner)
        return write_private(file, content, owner)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror or error}") from error


def _is_in_git(directory: Path) -> bool:
    return any((above / ".git").exists() for above in directory.resolve().parents)


def _undo(written: Sequence[tuple[Path, bool]]) -> None:
    """Remove a new file to which nothing refers."""
    from reconciler.linux.shared_files import remove_file

    for file, is_new in written:
        if is_new:
            remove_file(file)


# Unset


def _unset(settings: Settings, app: str, name: str) -> Changed:
    files: list[tuple[Path, Path]] = []

    def edit(found: "Described", edits: "AppEdits") -> None:
        file = _file(found, name)
        if file is None:
            kind = "is no secret file" if edits.tree.given("env", name) else "is not set"
            raise click.ClickException(
                f"{name} of {app} {kind} in {found.file}; 'reconciler config {app}' lists its variables"
            )
        own = (_own_file(found, name), _own_file(found, name, ".age"))
        files.append((file, file if file in own else own[0]))
        edits.remove(("env", name))

    changed = change(settings, app, [("env", name)], edit)
    return Changed(app=app, file=changed.file, changes=changed.changes, notes=(_fate(settings, app, name, *files[-1]),))


def _fate(settings: Settings, app: str, name: str, file: Path, own: Path) -> str:
    """Remove the file of a reference that is gone, if it was made for that; return what became of it."""
    from reconciler.linux.shared_files import remove_file

    if file != own:
        return f"kept {file}: it is not one that 'reconciler secrets set' made; remove it if nothing else needs it"
    if others := [*_shared(settings, app, name, file)]:
        return f"kept {file}: {others[0]}"
    try:
        return f"removed {file}" if remove_file(file) else f"there was no file {file}"
    except OSError as error:
        return f"kept {file}: it cannot be removed: {error.strerror or error}"


# Files


def _file(found: "Described", name: str) -> Path | None:
    """Return the file that a variable comes from by the manifest, None if it comes from none."""
    given = None if found.tree is None else found.tree.given("env", name, "file")
    return None if given is None else Path(found.path_of(str(given.value)))


def _own_file(found: "Described", name: str, suffix: str = "") -> Path:
    """Return where this command keeps a variable."""
    return Path(found.path_of(f"{_FOLDER}/{found.app}.{name}{suffix}"))


def _shared(settings: Settings, app: str, name: str, file: Path) -> Sequence[str]:
    """Return who else takes a variable from a file."""
    from reconciler.manifests.described import users_of
    from reconciler.manifests.origins import look_once

    others = sorted({(user, as_name) for user, as_name in users_of(look_once(settings), str(file))} - {(app, name)})
    if not others:
        return ()
    listed = ", ".join(f"{user} ({as_name or 'env_files'})" for user, as_name in others)
    return (plain(f"other variables come from it, too: {listed}"),)


# Recipients


def _tell_recipients(settings: Settings, file: Path, *, as_json: bool) -> None:
    """Print to whom a file is encrypted. Raises Failure if this user cannot open it."""
    from reconciler.vault.dotenv import Unusable, bytes_of
    from reconciler.vault.encryption.age import CannotOpen
    from reconciler.vault.encryption.opening import NAMES, recipients_of
    from reconciler.vault.encryption.recognition import encryption_of
    from reconciler.vault.secret_reader import SecretReader

    problem = ""
    try:
        content = bytes_of(file)
        encryption = encryption_of(content)
        if encryption is None:
            raise Failure("failed", f"{file} is not encrypted with age or SOPS")
        recipients = recipients_of(file.name, content, encryption)
    except (Unusable, CannotOpen) as error:
        raise Failure(
            "failed", plain(error if isinstance(error, Unusable) else f"cannot open {file}: {error}")
        ) from None
    try:
        SecretReader(settings).text_of(file)
    except Unusable as error:
        problem = plain(error)
    if as_json:
        facts = {"file": str(file), "encrypted_with": encryption.value, "recipients": recipients, "opens": not problem}
        show_json({**facts, "problem": problem or None})
    else:
        click.echo(f"{file} is encrypted with {NAMES[encryption]} to")
        for each in recipients:
            click.echo(f"  {plain(each)}")
        if not problem:
            click.echo("and this host can open it")
    if problem:
        raise Failure("failed", problem)
