"""Check this host, and say what to fix.

Checks the kernel, limits, the state directory, uv, Pythons and the programs of other languages, ports, the proxy,
manifests, settings, clusters, servers of services, the page and the daemon, and changes nothing. Exits with 1 when a
check fails, that is, when apps cannot be served as it is, on this host or in a cluster of it.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Told
from reconciler.cli.options import examples, json_option, unusable_settings_allowed
from reconciler.cli.table import cut, show_json, styled, width, wrapped
from reconciler.inspection.printable import plain
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.checks.check import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_INDENT = " " * 6


@click.command(help=__doc__, epilog=examples("reconciler doctor", "reconciler doctor --json"))
@json_option
@unusable_settings_allowed
def command(settings: Settings, unusable: str | None, as_json: bool) -> None:
    from reconciler.inspection.checks.host import checks

    found = list(checks(settings, unusable))
    if as_json:
        show_json([asdict(check) for check in found])
    else:
        for check in found:
            _show(check)
    if failed := [check for check in found if check.level == "fail"]:
        raise Told("failed", "\n".join(f"{check.subject}: {plain(check.found)}" for check in failed))


def _show(check: "Check") -> None:
    limit = width()
    head = f"{check.level:<4}  {check.subject}: {plain(check.found)}"
    first, *more = wrapped(head, limit, _INDENT)
    click.echo(styled(check.level, fg=_COLOURS[check.level]) + first[len(check.level) :])
    advice = wrapped(f"{_INDENT}{plain(check.advice)}", limit, _INDENT) if check.advice else []
    for line in [*more, *advice]:
        click.echo(cut(line, limit))
