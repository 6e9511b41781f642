"""Wait until apps are up to date.

The daemon looks at the manifests and sources again first, so a file saved a moment ago counts. Waits for each APP, a
name, a pattern such as 'shop-*' or service/NAME, with the services it uses, or for every app and service. Exits with 0
once all are as their manifests ask and a new revision has passed its probation. Exits with 1 at once, with the reason,
when a manifest is refused, an attempt has failed, or an operator has stopped or rolled back an app; and when the time
is over. Exits with 3 when no daemon is running; if it ends meanwhile, waits for the next
one.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import click

from reconciler.cli.daemon_client import paths_of_daemon
from reconciler.cli.options import DURATION, all_option, examples, refuse_both, state_option
from reconciler.cli.progress import Console
from reconciler.cli.waiting import Terms, Waiting, wait


@click.command(
    help=__doc__,
    epilog=examples(
        "git pull && reconciler wait",
        "reconciler wait blog 'shop-*' --timeout 2m",
        "reconciler wait --json",
    ),
)
@click.argument("apps", metavar="[APP | service/NAME]...", nargs=-1)
@all_option("Every app and service; the same as no name.")
@click.option("--timeout", "timeout_s", type=DURATION, default="5m", show_default=True, help="Give up after this long.")
@click.option("--keep-trying", is_flag=True, help="Wait on after a failure, as the daemon tries again.")
@click.option(
    "--probation/--no-probation",
    default=True,
    help="Wait until a new revision has passed its probation, or only until it serves.  [default: --probation]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per app and service at the end.")
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    apps: Sequence[str],
    everything: bool,
    timeout_s: float,
    keep_trying: bool,
    probation: bool,
    as_json: bool,
    state: Path | None,
) -> None:
    refuse_both(apps, everything=everything)
    paths = paths_of_daemon(state)
    terms = Terms(names=apps, timeout_s=timeout_s, keep_trying=keep_trying, probation=probation)
    console = None if as_json else Console(time.monotonic)
    wait(Waiting(paths=paths, terms=terms, console=console), as_json=as_json)
