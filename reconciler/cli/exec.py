"""Run one app in the foreground.

Stages APP with its services and runs its release command, as the daemon would. Then this process becomes its web
server, the process that --process names, or CMD, for a supervisor such as systemd or Nomad, or for CI. Logs go to
standard output and standard error. SIGTERM lets requests finish; the exit code is then 0, and 3 if the app is not ready
within its start timeout. Needs no daemon; a state directory that a daemon uses is refused. Options go before the --.
"""

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from reconciler.cli.options import examples
from reconciler.cli.preparing import failures, prepared, preparing_options
from reconciler.inspection.printable import plain
from reconciler.linux.error_words import in_words

if TYPE_CHECKING:
    from reconciler.daemon.foreground.programs import Foreground
    from reconciler.settings.settings import Settings

_LISTENER = 3  # as of socket activation
_CLEAR_OF_IT = 10
_BACKLOG = 2048


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler exec shop --bind 0.0.0.0:8000",
        "reconciler exec shop --process worker",
        "reconciler exec shop -- python manage.py check --deploy",
        "reconciler exec --here .",
    ),
)
@click.argument("app", required=False)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
@click.option("--process", metavar="NAME", help="Run this process of APP in place of its web server.")
@click.option(
    "--here",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Run the app in this directory, without a manifest and an APP.",
)
@click.option(
    "--bind",
    metavar="[HOST:]PORT",
    help="Listen there; a PORT alone is one of the manifest's host.  [default: $PORT, the manifest's port or 8000]",
)
@click.option("--no-release", is_flag=True, help="Do not run the release command.")
@preparing_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str | None,
    cmd: tuple[str, ...],
    process: str | None,
    here: Path | None,
    bind: str | None,
    no_release: bool,
    settings: "Settings",
    timeout_s: float,
) -> None:
    from reconciler.daemon.foreground.wanted import Wanted

    if here is not None and app is not None:  # the first word of the command
        cmd, app = (app, *cmd), None
    if here is None and app is None:
        raise click.UsageError("give the name of an APP, or --here and a directory")
    if process is not None and cmd:
        raise click.UsageError("give --process or a command, not both")
    if here is not None:
        settings, app = _of_directory(settings, here.absolute())
    assert app is not None
    host, port = _listening(bind)
    wanted = Wanted(
        app=app, process=process or "", command=cmd, host=host, port=port, release=not no_release
    )  # fmt: skip
    found = prepared(settings, wanted, timeout_s, lambda daemon: daemon.in_foreground(wanted))
    _become(found, app)


def _listening(bind: str | None) -> tuple[str | None, int | None]:
    """Return the host and the port that the command line or the environment names, None for those they do not."""
    text, named = (bind, "--bind") if bind is not None else (os.environ.get("PORT", ""), "PORT")
    if not text:
        return None, None
    host, _, port = text.rpartition(":") if named == "--bind" else ("", "", text)
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise click.UsageError(f"{named}: expected a port between 1 and 65535, not '{plain(text)}'")
    host = host.removeprefix("[").removesuffix("]")
    if host and host != "localhost":
        from ipaddress import ip_address

        try:
            ip_address(host)
        except ValueError:
            raise click.UsageError(f"--bind: expected an IP address, not '{plain(host)}'") from None
    return host or None, int(port)


def _of_directory(settings: "Settings", path: Path) -> "tuple[Settings, str]":
    """Return settings with a manifest for a directory and no other, and the app's name."""
    import json
    from dataclasses import replace

    from reconciler.documents.names import name_from
    from reconciler.linux.files import make_below, replace_file
    from reconciler.state.ownership import require_ours

    name = name_from(path.resolve().name) or "app"
    state = settings.paths.state
    with failures(settings):
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        require_ours(state)
        directory = make_below(state, Path("here", name))
        replace_file(directory / f"{name}.yaml", json.dumps({"name": name, "path": str(path)}), durable=False)
    return replace(settings, manifests=directory, origins=(), repositories={}, short_origin=None), name


def _become(found: "Foreground", app: str) -> NoReturn:
    """Replace this process. Raises ClickException if that cannot be."""
    import fcntl

    if not found.isolated:
        click.echo(f"warning: {app} asks for isolation, and 'exec' isolates nothing: its supervisor may", err=True)
    lock = fcntl.fcntl(found.lock, fcntl.F_DUPFD, _CLEAR_OF_IT)  # inherited: the directory is in use until it ends
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)  # Python ignores them, and a program would inherit that
    try:
        if found.address is not None:
            listener = _listener(found.address.host, found.address.port)
            os.dup2(listener.detach(), _LISTENER)
            os.set_inheritable(_LISTENER, True)  # which dup2 leaves as it is where that is the number already
        os.execve(found.argv[0], list(found.argv), dict(found.environment))  # noqa: S606  that is its purpose
    except OSError as error:
        os.close(lock)
        what = f"listen on {found.address}" if found.address is not None else f"run {found.argv[0]}"
        raise click.ClickException(f"cannot run {app}: cannot {what}: {in_words(error)}") from error


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((host, port))
    opened.listen(_BACKLOG)
    return opened
