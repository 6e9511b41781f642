"""List the runtimes of this host.

Pythons are found on PATH, in pyenv, in uv's own directory and in the host's settings. A manifest names one by its name
(`runtime: python3.12`), its exact version or its path. The programs of other languages (Node.js, Ruby, PHP, Java and
Go) are those that `command` of a manifest can start.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option, without_daemon
from reconciler.cli.table import show, show_json
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.staging.detection.programs.languages import LanguageOnHost
    from reconciler.staging.detection.runtimes import Runtime


@click.command(help=__doc__, epilog=examples("reconciler runtimes", "reconciler runtimes --json"))
@json_option
@without_daemon()
def command(settings: Settings, as_json: bool) -> None:
    from reconciler.staging.detection.programs.languages import languages_on_host
    from reconciler.staging.detection.runtimes import discover, is_supported

    found, others = discover(settings.interpreters), languages_on_host()
    if as_json:
        pythons = [{**asdict(runtime), "supported": is_supported(runtime)} for runtime in found]
        show_json([*pythons, *({**asdict(language), "supported": True} for language in others)])
    else:
        _show(found, others)
    if not found:
        raise click.ClickException(
            "this host has no Python for apps: install one, for example with 'uv python install'"
        )


def _show(found: "Sequence[Runtime]", others: "Sequence[LanguageOnHost]") -> None:
    from reconciler.staging.detection.runtimes import is_supported

    rows = [(each.name, each.description, each.version, each.path) for each in found]
    rows += [(each.name, each.description, each.version, each.path) for each in others]
    show(("NAME", "DESCRIPTION", "VERSION", "PATH"), rows)
    too_old = [runtime.description for runtime in found if not is_supported(runtime)]
    if too_old:
        click.echo(f"not supported (reconciler supports 2.7, 3.6 and newer): {', '.join(too_old)}", err=True)
