"""`reconciler rekey`: the stored secrets encrypted with a new key."""

import click

from reconciler.cli.daemon_client import ask_daemon
from reconciler.cli.options import examples, host_options, paths_in_use, reading
from reconciler.settings.settings import Settings


@click.command(epilog=examples("reconciler rekey"))
@host_options
def command(settings: Settings) -> None:
    """Draw a new key, encrypt everything that is stored with it, and forget the old one.

    A running daemon is asked to do it. Backups of the state directory made before need the key of their time.
    """
    import contextlib

    from reconciler.services.records import BOXES, ServiceRecords
    from reconciler.state.lock import AlreadyRunning, acquire
    from reconciler.state.schema import open_database
    from reconciler.vault.vault import Vault, VaultLocked

    paths = paths_in_use(settings.paths.state)
    try:
        with reading(paths), acquire(paths), contextlib.closing(open_database(paths.database)) as database:
            service_records = ServiceRecords(database, Vault(database, settings.key))
            count = service_records.vault.rekey(BOXES)
    except AlreadyRunning:
        ask_daemon(settings.paths.state, do="rekey")
        return
    except VaultLocked as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{count} secrets are encrypted with the new key in {settings.key}")
