"""Give a daemon that is not root users for its apps.

The service beside the daemon's, and the only one of root. It answers NAME alone, and lets its processes become the
users of apps, and no others. No app depends on it: the daemon asks it once, at its start.

A second process of it holds these users to where they may connect, by rules of the kernel that the daemon asks it for.
"""

import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples
from reconciler.linux.error_words import in_words

if TYPE_CHECKING:
    from reconciler.isolation.warden import Warded


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
    from reconciler.isolation.warden import Unfit, Warded, give_up_all_but, opened, serve
    from reconciler.linux.privileges import SETGID, SETUID
    from reconciler.linux.systemd import ServiceManager

    if os.geteuid() != 0:
        raise click.ClickException("only root can give users: run this command as root")
    ending, ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        warded = Warded.of(user, range(first, last + 1))
        claimed = claim_for_warden(warded.users, warded.uid, warded.gid, leased_in)
        ruling, no_rules = _rule(path, warded, (ending, ends))
        listening = opened(path, warded)
        give_up_all_but((SETUID, SETGID), warded)
    except Unfit as error:
        raise click.ClickException(str(error)) from error
    except Claimed as error:
        raise click.ClickException(f"cannot give the users from {first} to {last}: {error}") from error
    except OSError as error:
        raise click.ClickException(f"cannot listen at {path}: {in_words(error)}") from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ends, b"e"))
    ServiceManager(os.environ).ready()
    unclaimed = "" if claimed else "; other daemons of this host are not told of these, and may give them out, too"
    unruled = f"; no rules of the kernel hold them: {no_rules}" if no_rules else ""
    click.echo(f"gives {user} the users from {first} to {last}, at {path}{unclaimed}{unruled}")
    serve(listening, warded, (ending, *ruling))
    try:
        os.read(ending, 1)
    except BlockingIOError:
        raise click.ClickException("the process that gives the kernel rules has ended") from None


def _rule(path: Path, warded: "Warded", ending: tuple[int, int]) -> tuple[tuple[int, ...], str]:
    """Begin the process that gives the kernel rules; return a descriptor that tells of its end, or why there is none.

    It ends with this one. Raises OSError.
    """
    from reconciler.isolation.rule_warden import serve_rules
    from reconciler.isolation.warden import give_up_all_but, opened, place_of_rules
    from reconciler.linux import nftables
    from reconciler.linux.privileges import NET_ADMIN, may

    place = place_of_rules(path)
    try:
        if not may(NET_ADMIN):
            raise PermissionError(errno.EPERM, "it lacks CAP_NET_ADMIN")
        nftables.generation()
    except OSError as error:
        place.unlink(missing_ok=True)
        return (), in_words(error)
    listening, (serves, told) = opened(place, warded), os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(ending[1])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        give_up_all_but((NET_ADMIN,), warded)
        os.write(told, b"s")
        serve_rules(listening, warded, ending[0])
        raise SystemExit
    for each in (told, listening.detach()):
        os.close(each)
    if not os.read(serves, 1):
        raise PermissionError(errno.EPERM, "the process that gives the kernel rules has ended")
    os.close(serves)
    return (os.pidfd_open(pid),), ""
