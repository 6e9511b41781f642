r"""Show the environment an app gets.

It is complete: an instance of APP inherits nothing from the daemon. Variables with a secret name (KEY, SECRET,
TOKEN, PASSWORD, PASS, CREDENTIAL, DSN), passwords in URLs, and the credentials in VCAP_SERVICES are printed as •••
unless --reveal is given. Values are quoted for a shell; invisible characters are written as in $'\x1b'.
"""

from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, host_options, json_option, open_snapshot, paths_in_use
from reconciler.cli.table import show_json
from reconciler.inspection.printable import quoted
from reconciler.settings.settings import Settings
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import masked

if TYPE_CHECKING:
    from reconciler.inspection.environment import Surroundings


@click.command(help=__doc__, epilog=examples("reconciler env blog", "reconciler env blog --reveal --json"))
@click.argument("app")
@click.option("--reveal", is_flag=True, help="Print secrets, too.")
@json_option
@host_options
def command(settings: Settings, app: str, reveal: bool, as_json: bool) -> None:
    found = surroundings(app, settings)
    shown = dict(found.environment) if reveal else masked(found.environment, found.secret)
    if as_json:
        show_json(dict(sorted(shown.items())))
        return
    for name, value in sorted(shown.items()):
        click.echo(f"{name}={value if value == HIDDEN else quoted(value)}")


def surroundings(app: str, settings: Settings) -> "Surroundings":
    """Return what the wanted revision of an app runs with. Raises ClickException if there is no such app or build."""
    from reconciler.inspection import environment

    with open_snapshot(paths_in_use(settings.paths.state)) as snapshot:
        try:
            return environment.surroundings(app, settings, snapshot)
        except environment.NoApp as error:
            raise Failure("not-found", str(error)) from error
        except environment.NoEnvironment as error:
            raise click.ClickException(str(error)) from error
