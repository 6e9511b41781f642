"""`reconciler logs`: an app's log files."""

import codecs
import contextlib
import io
import os
import time
from pathlib import Path
from typing import BinaryIO

import click

from reconciler.cli.options import examples, paths_in_use, state_option
from reconciler.inspection.printable import plain, visible
from reconciler.serving.logs import is_replaced

_POLL_S = 0.3
_BLOCK = 64 * 1024


@click.command(epilog=examples("reconciler logs blog -f", "reconciler logs blog --which staging"))
@click.argument("app")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is written, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many of the last to print."
)
@click.option(
    "--which", type=click.Choice(["app", "access", "staging"]), default="app", show_default=True, help="Which log."
)
@click.option("--raw", is_flag=True, help="Every byte as it was written, escapes and all.")
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str, follow: bool, lines: int, which: str, raw: bool, state: Path | None
) -> None:
    """What APP wrote, what it was asked for, or how it was staged.

    Escapes, controls and marks that turn the direction of text are shown by their number, and do nothing.
    """
    log = paths_in_use(state).log(app, which)
    if "/" in app or app in {"", ".", ".."} or not log.parent.is_dir():
        raise click.ClickException(f"no log of an app named '{plain(app)}'; 'reconciler status' lists the apps")
    try:
        if not log.exists() and not follow:
            click.echo(f"nothing was written to {log} yet", err=True)
            return
        with contextlib.suppress(KeyboardInterrupt):
            _print(log, lines, follow=follow, raw=raw)
    except PermissionError as error:
        raise click.ClickException(f"cannot read {log}: {error.strerror}") from error


def _print(log: Path, lines: int, *, follow: bool, raw: bool) -> None:
    """The last lines, then what is appended; a rotated log is read to its end, then its successor from the start."""
    while not log.exists():
        time.sleep(_POLL_S)
    file = log.open("rb")
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    try:
        _seek_last(file, lines)
        while True:
            if chunk := file.read(_BLOCK):
                click.echo(chunk if raw else visible(decoder.decode(chunk)), nl=False)
            elif not follow:
                return
            elif is_replaced(file, log):
                file.close()
                file = log.open("rb")
            else:
                time.sleep(_POLL_S)
    finally:
        file.close()


def _seek_last(file: BinaryIO, lines: int) -> None:
    """Go to where the last `lines` lines begin, reading no more than those."""
    at = end = file.seek(0, os.SEEK_END)
    if not lines or not end:
        return
    file.seek(end - 1)
    wanted = lines + (file.read(1) == b"\n")  # a line break at the very end begins no line
    while at > 0:
        start = max(0, at - _BLOCK)
        file.seek(start)
        block = file.read(at - start)
        breaks = block.count(b"\n")
        if breaks >= wanted:
            place = len(block)
            for _ in range(wanted):
                place = block.rindex(b"\n", 0, place)
            file.seek(start + place + 1)
            return
        wanted, at = wanted - breaks, start
    file.seek(0)
