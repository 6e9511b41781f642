"""Show the configuration of the proxy.

Shows what the proxy that serves the domains of apps is to have, or with --diff how what it has differs from that; keys
and hashes are masked. The daemon repairs a difference by itself, within seconds.
"""

from pathlib import Path

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option


@click.command(help=__doc__, epilog=examples("reconciler proxy", "reconciler proxy --diff"))
@click.option("--diff", is_flag=True, help="Show how what the proxy has differs; exit with 1 if it does.")
@json_option
@state_option
def command(diff: bool, as_json: bool, state: Path | None) -> None:
    from reconciler.cli.table import show_json
    from reconciler.inspection.domains import NoProxy, difference, wanted_text
    from reconciler.routing.admin import ProxyError

    paths = paths_in_use(state)
    with open_snapshot(paths):
        pass  # a directory in which no daemon has run is told of as by every command
    try:
        text = difference(paths.proxy_wanted) if diff else wanted_text(paths.proxy_wanted)
    except NoProxy as error:
        raise Failure("no-proxy", str(error)) from error
    except ProxyError as error:
        raise Failure("proxy-fails", str(error)) from error
    if as_json:
        show_json({"diff": text} if diff else {"configuration": text})
    elif diff and not text:
        click.echo("the proxy has what it is to have")
    else:
        click.echo(text, nl=False)
    if diff and text:
        raise Failure("proxy-differs", "the proxy has something else than it is to have")
