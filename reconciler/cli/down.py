"""Stop the daemon and every app it started.

Each app gets its stop timeout to finish its requests. 'reconciler run' starts all of them again.
"""

from pathlib import Path

import click

from reconciler.cli.options import examples, json_option, paths_of, reading, state_option
from reconciler.planning.wording import counted


@click.command(help=__doc__, epilog=examples("reconciler down", "reconciler down --state /var/lib/reconciler"))
@json_option
@state_option
def command(as_json: bool, state: Path | None) -> None:
    from reconciler.daemon.shutdown import shut_down
    from reconciler.state.lock import AlreadyRunning

    paths = paths_of(state)
    if not paths.database.exists():
        if as_json:
            _show_json(None, 0, 0)
        else:
            click.echo(f"nothing to stop: no daemon has ever run in {paths.state}")
        return
    try:
        with reading(paths):
            stopped = shut_down(paths, lambda text: click.echo(text, err=True))
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}: it was started just now; try again") from error
    if as_json:
        _show_json(stopped.daemon, stopped.instances, stopped.strays)
        return
    parts = [f"the daemon (pid {stopped.daemon})"] if stopped.daemon else []
    parts += [counted(stopped.instances, "app instance")] if stopped.instances else []
    strays = stopped.strays
    parts += [f"{strays} stray {'process' if strays == 1 else 'processes'}"] if strays else []
    click.echo(f"stopped {' and '.join(parts)}" if parts else "nothing to stop: nothing is running")


def _show_json(daemon: int | None, instances: int, strays: int) -> None:
    from reconciler.cli.table import show_json

    show_json({"daemon": daemon or None, "instances": instances, "strays": strays})
