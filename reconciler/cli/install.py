"""Install the daemon as a systemd service.

Writes a hardened unit, sample settings and the directories, and keeps files that were edited since. Running it again
changes nothing. Starts nothing: the last line says how to.

With --cluster, only prints the account of a daemon in a cluster, for 'kubectl apply': a ServiceAccount, a Role with the
rights that the daemon needs in that namespace and no others, and the RoleBinding of both.
"""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import examples, json_option
from reconciler.linux.error_words import in_words

if TYPE_CHECKING:
    from reconciler.installation.service import Service, Step

_SUBGROUPS_SINCE = 254  # DelegateSubgroup= of systemd.resource-control(5)
_ABSOLUTE = click.Path(path_type=Path, file_okay=False, resolve_path=True)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --user, --manifests, --state, --root, --dry-run, --force and --json."""
    for option in reversed((
        click.option("--user", default="reconciler", show_default=True, metavar="NAME", help="The daemon's user."),
        click.option("--manifests", type=_ABSOLUTE, default="/etc/reconciler/manifests", show_default=True,
                     metavar="DIR", help="The directory of the manifests."),
        click.option("--state", type=_ABSOLUTE, default="/var/lib/reconciler", show_default=True,
                     metavar="DIR", help="The directory for apps, environments, logs and the database."),
        click.option("--root", type=_ABSOLUTE, default="/", show_default=True, metavar="DIR",
                     help="Write below this directory, for packages and images."),
        click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing."),
        click.option("--force", is_flag=True, help="Also replace or remove files that were edited."),
        json_option,
    )):  # fmt: skip
        command = option(command)
    return command


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler install --dry-run",
        "reconciler install --user www-data --manifests /srv/m",
        "reconciler install --cluster web | kubectl apply -f -",
    ),
)
@service_options
@click.option(
    "--app-users",
    is_flag=True,
    help="Give isolated apps users of their own: by a warden, a small service of root beside the daemon, which then may"
    " make namespaces and mounts.  [default: as it is installed]",
)
@click.option("--cluster", "namespace", metavar="NAMESPACE", help="Print the account for this namespace of a cluster.")
def command(  # noqa: PLR0913, PLR0917  one for each option
    user: str,
    manifests: Path,
    state: Path,
    root: Path,
    dry_run: bool,
    force: bool,
    as_json: bool,
    app_users: bool,
    namespace: str | None,
) -> None:
    if namespace is not None:
        _print_account(namespace, as_json=as_json)
        return
    for path in (manifests, state):
        if not str(path).isprintable():
            raise click.ClickException(f"a unit cannot name {path!r}: choose a path of printable letters")
    owner = _owner(user, state) if root == Path("/") else None
    if owner is not None:
        _require_runnable(user, owner)
    service = service_of(user, manifests, state, root, owner)
    service = replace(service, app_users=app_users or service.has_warden())
    units = "reconciler-warden reconciler" if service.app_users else "reconciler"
    following = "" if dry_run else f"systemctl daemon-reload && systemctl enable --now {units}"
    if as_json:
        show_steps(service.install(force=force, dry=dry_run), following)
        return
    print_each(service.install(force=force, dry=dry_run))
    if following:
        click.echo(f"next: {following}")


def _print_account(namespace: str, *, as_json: bool) -> None:
    """Print the account of a daemon in a namespace. Raises BadParameter."""
    from reconciler.cluster.access import ACCOUNT, access
    from reconciler.cluster.written import as_json as written_as_json
    from reconciler.cluster.written import as_yaml

    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", namespace):
        raise click.BadParameter("expected the name of a namespace, such as web", param_hint="--cluster")
    click.echo((written_as_json if as_json else as_yaml)(access(namespace)), nl=False)
    token = f"kubectl --namespace {namespace} create token {ACCOUNT} --duration 8760h"
    click.echo(f"next: have it applied, and write a kubeconfig with the token of '{token}'", err=True)


def service_of(user: str, manifests: Path, state: Path, root: Path, owner: tuple[int, int] | None = None) -> "Service":
    """Return the service that the options describe; `owner` is the uid and gid that get what is written."""
    from reconciler.installation.service import Service
    from reconciler.linux.systemd import version

    return Service(
        user=user,
        manifests=manifests,
        state=state,
        command=_program(),
        root=root,
        owner=owner,
        subgroups=version() >= _SUBGROUPS_SINCE,
    )


def _program() -> tuple[str, ...]:
    script = Path(sys.executable).with_name("reconciler")
    return (str(script),) if script.exists() else (sys.executable, "-m", "reconciler")


def _require_runnable(user: str, owner: tuple[int, int]) -> None:
    """Raise ClickException if the service's user cannot run this very program; only root can try that."""
    if os.geteuid() != 0:
        return
    uid, gid = owner
    try:
        tried = subprocess.run(
            [*_program(), "--version"],
            user=uid, group=gid, extra_groups=os.getgrouplist(user, gid), cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
        said = tried.stderr.decode(errors="backslashreplace").strip().splitlines()
        why = "" if tried.returncode == 0 else (said or [f"exit code {tried.returncode}"])[-1]
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    if why:
        raise click.ClickException(
            f"user '{user}' cannot run {' '.join(_program())}: {why}\n"
            "install reconciler where that user may read it, such as /opt/reconciler: python3 -m venv /opt/reconciler"
            " && /opt/reconciler/bin/pip install FILE && /opt/reconciler/bin/reconciler install"
        )


def _owner(user: str, state: Path) -> tuple[int, int]:
    """Return the user's uid and gid. Raises ClickException if this host has no such user."""
    try:
        known = pwd.getpwnam(user)
    except KeyError:
        how = f"useradd --system --home-dir {state} --shell /usr/sbin/nologin {user}"
        raise click.ClickException(f"no user '{user}' on this host; create it first: {how}") from None
    return known.pw_uid, known.pw_gid


def print_each(steps: "Iterable[Step]") -> None:
    """Print each step when it is done. Raises ClickException if a file cannot be written."""
    _each(steps, click.echo)


def show_steps(steps: "Iterable[Step]", following: str) -> None:
    """Print all steps as JSON, with the command to run next. Raises ClickException if a file cannot be written."""
    from reconciler.cli.table import show_json

    done: list[Step] = []
    _each(steps, done.append)
    show_json({"steps": [step._asdict() for step in done], "next": following or None})


def _each(steps: "Iterable[Step]", take: "Callable[[Step], object]") -> None:
    try:
        for step in steps:
            take(step)
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename or 'a file'}: {in_words(error)}") from error
