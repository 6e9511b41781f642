"""Send a test notification.

Sends a test message to every notification target of the host's settings. Exits with 0 when each accepted it.
"""

import asyncio
import json
import socket

import click

from reconciler.cli.failure import Told
from reconciler.cli.options import examples, json_option, without_daemon
from reconciler.inspection.printable import plain
from reconciler.settings.settings import Settings


@click.command(
    help=__doc__, epilog=examples("reconciler notify --test", "reconciler notify --test --settings host.yaml")
)
@click.option("--test", is_flag=True, required=True, help="Send a test message to each target.")
@json_option
@without_daemon()
def command(settings: Settings, test: bool, as_json: bool) -> None:  # noqa: ARG001  required, so that a later default stays possible
    from reconciler.notifications.delivery import Delivery
    from reconciler.notifications.digest import Entry
    from reconciler.notifications.target import NotSent
    from reconciler.planning.subject import HOST

    if not settings.notifications:
        raise click.ClickException("the host's settings have no notification targets: see docs/howto/notify.md")
    item = Entry(subject=HOST, severity="healthy", text="a test message, sent by 'reconciler notify --test'")
    results: list[dict[str, str | bool]] = []
    for target in settings.notifications:
        try:
            asyncio.run(Delivery(target, socket.gethostname()).send((item,)))
        except NotSent as error:
            results.append({"target": str(target), "sent": False, "message": str(error)})
        else:
            results.append({"target": str(target), "sent": True, "message": ""})
    for result in results:
        outcome = "sent" if result["sent"] else f"failed: {result['message']}"
        click.echo(json.dumps(result) if as_json else plain(f"{result['target']}: {outcome}"))
    if failed := [result for result in results if not result["sent"]]:
        raise Told("failed", "\n".join(plain(f"{each['target']}: {each['message']}") for each in failed))
