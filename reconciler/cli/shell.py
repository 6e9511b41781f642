"""Run a command in an app's environment.

CMD runs as an instance of APP does: with its environment, in its code's directory, with its `python`, isolated if APP
is. Without CMD, an interactive shell is started. 'reconciler tasks' tells who ran what and when, not what was printed.
Options go before APP.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from reconciler.cli.env import surroundings
from reconciler.cli.options import examples, host_options, paths_to_change
from reconciler.linux.error_words import in_words, with_file
from reconciler.linux.files import make_below
from reconciler.linux.privileges import SETUID, may
from reconciler.settings.settings import Settings

_TERMINAL = ("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR")
# These identify a process as part of an instance, and the daemon ends it with the instance.
_MARKS = ("RECONCILER_STATE_ID", "RECONCILER_INSTANCE")


@click.command(
    help=__doc__,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples(
        "reconciler shell guestbook -- python manage.py migrate",
        "reconciler shell blog -- python -c 'import django; print(django.VERSION)'",
        "reconciler shell blog",
    ),
)
@host_options
@click.argument("app")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
def command(settings: Settings, app: str, cmd: tuple[str, ...]) -> None:
    from reconciler.cli.recorded_shell import become
    from reconciler.isolation.app_namespace import become_warded
    from reconciler.isolation.app_users import app_users
    from reconciler.services.binding_views import lay_out
    from reconciler.serving.confinements import confinements_of

    paths_to_change(settings.paths.state)
    found = surroundings(app, settings)
    users = app_users(settings.paths)
    become_warded(users.keys())
    _require_owner(found.places.home, app, users)
    try:
        for directory in (found.places.home, found.places.scratch):
            make_below(directory, Path())
    except OSError as error:
        raise click.ClickException(f"cannot make a directory of {app}: {with_file(error)}") from error
    lay_out(found.views, found.files)
    environment = {name: value for name, value in found.environment.items() if name not in _MARKS}
    environment |= {name: os.environ[name] for name in _TERMINAL if name in os.environ}
    interactive = (os.environ.get("SHELL") or "/bin/sh", "-i")
    words = (cmd[1:] if cmd[:1] == ("--",) else cmd) or interactive
    confined, given = confinements_of(settings).around(
        words, environment, found.revision, found.code, found.places, beside=os.getppid()
    )
    try:
        os.chdir(found.code.directory)
        become(settings.paths, app, words, confined, given)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and "/" not in words[0] and Path(found.code.directory).is_dir():
            raise click.ClickException(f"{words[0]}: command not found on the PATH that {app} has") from error
        raise click.ClickException(f"cannot run {words[0]} in {found.code.directory}: {in_words(error)}") from error


def _require_owner(home: Path, app: str, users: Mapping[int, str]) -> None:
    """Refuse another user, root included: the app could not change the files that user would create in its home."""
    if home.is_symlink():  # it is the app's own, wherever it leads
        owner = home.lstat().st_uid
    else:
        owner = next(parent for parent in (home, *home.parents) if parent.exists()).stat().st_uid
    if owner != os.geteuid() and not (may(SETUID) and users.get(owner) == app):
        raise click.ClickException(f"the files of {app} belong to user id {owner}: run this command as that user")
