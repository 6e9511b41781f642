r"""Print an app's logs.

Prints what APP wrote, its access log, or the output of staging. Control characters, and marks that change the
direction of text, are printed as escapes such as \x1b.
"""

import codecs
import contextlib
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, paths_in_use, state_option
from reconciler.inspection.printable import plain, visible

if TYPE_CHECKING:
    from reconciler.inspection.log_files import LogReader

_POLL_S = 0.3


@click.command(help=__doc__, epilog=examples("reconciler logs blog -f", "reconciler logs blog --which staging"))
@click.argument("app")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="How many of the last lines to print first.",
)
@click.option(
    "--which",
    type=click.Choice(["app", "access", "staging"]),
    default="app",
    show_default=True,
    help="The app's output, its access log, or the output of staging.",
)
@click.option("--raw", is_flag=True, help="Print every byte as it was written, control sequences included.")
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str, follow: bool, lines: int, which: str, raw: bool, state: Path | None
) -> None:
    from reconciler.inspection.log_files import LogReader

    log = paths_in_use(state).log(app, which)
    if "/" in app or app in {"", ".", ".."} or not log.parent.is_dir():
        raise click.ClickException(f"no app named '{plain(app)}' has logs here; 'reconciler status' lists the apps")
    try:
        if not log.exists() and not follow:
            click.echo(f"{log} is still empty", err=True)
            return
        with LogReader(log, lines) as reader, contextlib.suppress(KeyboardInterrupt):
            _print(reader, follow=follow, raw=raw)
    except OSError as error:
        raise click.ClickException(f"cannot read {log}: {error.strerror}") from error


def _print(reader: "LogReader", *, follow: bool, raw: bool) -> None:
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    while True:
        if chunk := reader.read():
            click.echo(chunk if raw else visible(decoder.decode(chunk)), nl=False)
        elif follow:
            time.sleep(_POLL_S)
        else:
            return
