"""`reconciler logs`: an app's log files."""

import time
from pathlib import Path

import click

from reconciler.cli.options import layout_in_use, state_option

_POLL_S = 0.3


@click.command()
@click.argument("app")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is written.")
@click.option("-n", "--lines", default=100, show_default=True, help="How many of the last lines to print first.")
@click.option(
    "--which", type=click.Choice(["app", "access", "staging"]), default="app", show_default=True, help="Which log."
)
@state_option
def command(app: str, follow: bool, lines: int, which: str, state: Path | None) -> None:
    """What APP wrote, what it was asked for, or how it was staged.

    \b
    Examples:
      reconciler logs blog -f
      reconciler logs blog --which staging
    """
    from reconciler.serving.logs import tail  # noqa: PLC0415  start-up time

    log = layout_in_use(state).log(app, which)
    if not log.parent.exists():
        raise click.ClickException(f"no log of an app named '{app}' in {log.parent.parent}")
    for line in tail(log, lines):
        click.echo(line)
    if follow:
        _follow(log)


def _follow(log: Path) -> None:
    """Print what is appended; a rotated log is read to its end, then its successor from the start."""
    while not log.exists():
        time.sleep(_POLL_S)
    file = log.open("rb")
    file.seek(0, 2)
    while True:
        chunk = file.read()
        if chunk:
            click.echo(chunk.decode("utf-8", "replace"), nl=False)
        elif log.exists() and log.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino:
            file.close()
            file = log.open("rb")
        else:
            time.sleep(_POLL_S)
