"""`reconciler metrics`: the host's figures for Prometheus."""

from pathlib import Path

import click

from reconciler.cli.options import examples, paths_in_use, reading, state_option


@click.command(
    epilog=examples("reconciler metrics", "reconciler metrics > /var/lib/node_exporter/textfile/reconciler.prom")
)
@state_option
def command(state: Path | None) -> None:
    """Print what /metrics says: convergence, staging and every app's requests, in Prometheus' text format."""
    from reconciler.metrics.prometheus import render

    paths = paths_in_use(state)
    with reading(paths):
        click.echo(render(paths), nl=False)
