"""`reconciler down`."""

from pathlib import Path

import click

from reconciler.cli.options import examples, paths_of, reading, state_option
from reconciler.inspection.printable import counted


@click.command(epilog=examples("reconciler down", "reconciler down --state /var/lib/reconciler"))
@state_option
def command(state: Path | None) -> None:
    """End the daemon and the apps it started.

    Each app gets its own stop_timeout for the requests it is answering. `reconciler run` starts all of it again.
    """
    from reconciler.daemon.shutdown import shut_down
    from reconciler.state.lock import AlreadyRunning

    paths = paths_of(state)
    if not paths.database.exists():
        click.echo(f"nothing to stop: no daemon has used {paths.state}")
        return
    try:
        with reading(paths):
            ended = shut_down(paths, lambda text: click.echo(text, err=True))
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}: it was started meanwhile; try again") from error
    parts = [f"the daemon (pid {ended.daemon})"] if ended.daemon else []
    parts += [counted(ended.instances, "app instance")] if ended.instances else []
    parts += [counted(ended.strays, "stray process").replace("processs", "processes")] if ended.strays else []
    click.echo(f"stopped {' and '.join(parts)}" if parts else "nothing to stop: no daemon and no app is running")
