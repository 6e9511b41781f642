"""Open a service's own client, already logged in.

Runs the client of SERVICE (psql, mysql, redis-cli, sqlite3, ...) with an app's credentials in its environment, and
passes ARGUMENTS to it. Options go before SERVICE; a -- before ARGUMENTS is not passed on.
"""

import os

import click

from reconciler.cli.options import examples, host_options
from reconciler.cli.service_access import open_service
from reconciler.linux.error_words import in_words
from reconciler.settings.settings import Settings

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "EDITOR", "PAGER", "TZ")


@click.command(
    help=__doc__,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("reconciler service-shell blog-db", "reconciler service-shell --app blog blog-db -- -c 'select 1'"),
)
@click.option("--app", metavar="APP", help="The app whose credentials to use, if several are bound.")
@host_options
@click.argument("service")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(settings: Settings, app: str | None, service: str, arguments: tuple[str, ...]) -> None:
    from reconciler.services.registry import provisioner_of

    with open_service(service, settings) as found:
        grants = [g for g in found.record.grants if g.credentials is not None and app in {None, g.app}]
        grant = max(grants, key=lambda g: (g.retiring is None, g.number), default=None)
        if grant is None or grant.credentials is None:
            whom = f"no app named '{app}'" if app else "no app"
            raise click.ClickException(f"{whom} is bound to {service}: a client needs an app's credentials")
        client = provisioner_of(found.record.type).client(
            found.spec, found.service_records.credentials(grant.credentials)
        )
    passed = arguments[1:] if arguments[:1] == ("--",) else arguments
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(client.environment)
    try:
        os.execvpe(client.argv[0], [*client.argv, *passed], environment)  # noqa: S606  the client, without a shell
    except OSError as error:
        raise click.ClickException(f"cannot run {client.argv[0]}: {in_words(error)}; is it installed?") from error
