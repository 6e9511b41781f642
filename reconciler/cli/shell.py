"""`reconciler shell`: a command with an app's environment, in its code's directory."""

import os
from pathlib import Path

import click

from reconciler.cli.env import wanted
from reconciler.cli.options import examples, host_options
from reconciler.settings.settings import Settings

_TERMINAL = ("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR")
# By these a process is known as an instance's, and ended with what is left of it.
_MARKS = ("RECONCILER_STATE_ID", "RECONCILER_INSTANCE")


@click.command(
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
    """Run CMD as an instance of APP would run: its environment, its code, its home, and its `python`.

    Without CMD, an interactive shell. The options come before APP.
    """
    from reconciler.services.vcap import lay_out

    found = wanted(app, settings)
    _refuse_strangers(found.places.home, app)
    for directory in (found.places.home, found.places.scratch):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lay_out(found.shown, found.files)
    environment = {name: value for name, value in found.environment.items() if name not in _MARKS}
    environment |= {name: os.environ[name] for name in _TERMINAL if name in os.environ}
    interactive = (os.environ.get("SHELL") or "/bin/sh", "-i")
    words = (cmd[1:] if cmd[:1] == ("--",) else cmd) or interactive
    try:
        os.chdir(found.code.directory)
        os.execvpe(words[0], list(words), environment)  # noqa: S606  a command of the user's own, without a shell
    except OSError as error:
        raise click.ClickException(f"cannot run {words[0]} in {found.code.directory}: {error.strerror}") from error


def _refuse_strangers(home: Path, app: str) -> None:
    """What root writes into an app's home, the app itself could not change any more."""
    place = next(parent for parent in (home, *home.parents) if parent.exists())
    owner = place.stat().st_uid
    if owner != os.geteuid():
        raise click.ClickException(f"the files of {app} belong to user id {owner}: run this as that user")
