"""Print the host's metrics for Prometheus.

The same metrics as the daemon serves at /metrics: convergence, staging, and the requests of every app.
"""

from pathlib import Path

import click

from reconciler.cli.options import examples, paths_in_use, reading, state_option


@click.command(
    help=__doc__,
    epilog=examples("reconciler metrics", "reconciler metrics > /var/lib/node_exporter/textfile/reconciler.prom"),
)
@state_option
def command(state: Path | None) -> None:
    from reconciler.metrics.prometheus import render

    paths = paths_in_use(state)
    with reading(paths):
        click.echo(render(paths), nl=False)
