"""Re-encrypt the stored secrets with a new key.

A new key is generated, everything stored is re-encrypted with it, and the old key is deleted. A running daemon does
this itself on request. Older backups of the state directory still need the key they were made with.
"""

import click

from reconciler.cli.daemon_client import request
from reconciler.cli.options import examples, host_options, json_option, paths_to_change, reading
from reconciler.cli.table import show_json
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings


@click.command(help=__doc__, epilog=examples("reconciler rekey"))
@json_option
@host_options
def command(settings: Settings, as_json: bool) -> None:
    import contextlib

    from reconciler.services.records import BOXES, ServiceRecords
    from reconciler.state.lock import AlreadyRunning, acquire
    from reconciler.state.schema import open_database
    from reconciler.vault.vault import Vault, VaultLocked

    paths = paths_to_change(settings.paths.state)
    try:
        with reading(paths), acquire(paths), contextlib.closing(open_database(paths.database)) as database:
            service_records = ServiceRecords(database, Vault(database, settings.key))
            count = service_records.vault.rekey(BOXES)
    except AlreadyRunning:
        request(settings.paths.state, as_json=as_json, do="rekey")
        return
    except VaultLocked as error:
        raise click.ClickException(str(error)) from error
    done = f"re-encrypted {counted(count, 'secret')} with the new key in {settings.key}"
    if as_json:
        show_json({"secrets": count, "key": str(settings.key), "done": done, "error": None})
    else:
        click.echo(done)
