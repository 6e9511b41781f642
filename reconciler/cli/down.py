"""Stop the daemon, and every app and task it started.

Each app gets its stop timeout to finish its requests. Each task gets 8 s after SIGTERM, and is recorded as failed.
'reconciler run' starts the apps again. The command fails, and says what is left, unless the daemon's process, those of
its apps, their control groups and their rules of the kernel are gone; a daemon that takes longer than 30 s is killed.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option, paths_of, reading, state_option
from reconciler.planning.wording import counted

if TYPE_CHECKING:
    from reconciler.daemon.shutdown import Stopped


@click.command(help=__doc__, epilog=examples("reconciler down", "reconciler down --state /var/lib/reconciler"))
@json_option
@state_option
def command(as_json: bool, state: Path | None) -> None:
    from reconciler.daemon.shutdown import StillRunning, Stopped, shut_down
    from reconciler.state.lock import AlreadyRunning

    paths = paths_of(state)
    if not paths.database.exists():
        if as_json:
            _show_json(Stopped())
        else:
            click.echo(f"nothing to stop: no daemon has ever run in {paths.state}")
        return
    try:
        with reading(paths):
            stopped = shut_down(paths, lambda text: click.echo(text, err=True))
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}: it was started just now; try again") from error
    except StillRunning as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _show_json(stopped)
    else:
        _show(stopped)
    if stopped.left:
        raise click.ClickException(stopped.left)


def _show(stopped: "Stopped") -> None:
    parts = [f"the daemon (pid {stopped.daemon})"] if stopped.daemon else []
    parts += [counted(stopped.instances, "app instance")] if stopped.instances else []
    parts += [counted(stopped.processes, "process")] if stopped.processes else []
    parts += [counted(stopped.tasks, "task")] if stopped.tasks else []
    parts += [counted(stopped.strays, "stray process")] if stopped.strays else []
    click.echo(
        f"stopped {' and '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))}"
        if parts
        else "nothing to stop: nothing is running"
    )


def _show_json(stopped: "Stopped") -> None:
    from reconciler.cli.table import show_json

    show_json(
        {name: getattr(stopped, name) for name in ("daemon", "instances", "processes", "tasks", "strays", "left")}
    )
