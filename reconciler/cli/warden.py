"""Give a daemon that is not root users for its apps.

The service beside the daemon's, and the only process of root. It answers NAME alone, and lets its processes become the
users of apps, and no others. It keeps no other right, and no app depends on it: the daemon asks it once, at its start.
"""

import os
import signal
from pathlib import Path

import click

from reconciler.cli.options import examples


@click.command(
    help=__doc__,
    epilog=examples("reconciler warden --user reconciler", "reconciler warden --user web --first 200000 --last 209999"),
)
@click.option("--user", default="reconciler", show_default=True, metavar="NAME", help="The daemon's user.")
@click.option("--first", default=70_000, show_default=True, metavar="N", help="The first user of apps.")
@click.option("--last", default=79_999, show_default=True, metavar="N", help="The last user of apps.")
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="/run/reconciler-warden/socket",
    show_default=True,
    metavar="FILE",
    help="The socket at which the daemon asks.",
)
def command(user: str, first: int, last: int, path: Path) -> None:
    from reconciler.isolation.user_claims import Claimed, claim_for_warden
    from reconciler.isolation.user_leases import leased_in
    from reconciler.isolation.warden import Unfit, Warded, give_up_all_but_maps, opened, serve
    from reconciler.linux.systemd import ServiceManager

    if os.geteuid() != 0:
        raise click.ClickException("only root can give users: run this command as root")
    try:
        warded = Warded.of(user, range(first, last + 1))
        claimed = claim_for_warden(warded.users, warded.uid, warded.gid, leased_in)
        listening = opened(path, warded)
        give_up_all_but_maps(warded)
    except Unfit as error:
        raise click.ClickException(str(error)) from error
    except Claimed as error:
        raise click.ClickException(f"cannot give the users from {first} to {last}: {error}") from error
    except OSError as error:
        raise click.ClickException(f"cannot listen at {path}: {error.strerror}") from error
    ending, ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ends, b"e"))
    ServiceManager(os.environ).ready()
    unclaimed = "" if claimed else "; other daemons of this host are not told of these, and may give them out, too"
    click.echo(f"gives {user} the users from {first} to {last}, at {path}{unclaimed}")
    serve(listening, warded, ending)
