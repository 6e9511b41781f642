"""List the processes of running apps.

Shows the gunicorn master and the workers of each APP, a name or a pattern such as 'shop-*', or of every app, and its
processes that are not web: the user that they run as, how old they are, the memory they take, how many requests each
worker has answered, and what it does now. Needs no daemon.
During a hand-over, the instance that is starting and the one that is stopping are both listed.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import (
    all_option,
    examples,
    json_option,
    open_snapshot,
    paths_in_use,
    refuse_both,
    state_option,
)
from reconciler.cli.table import lines, show_json, width, wrapped
from reconciler.inspection.printable import ago, megabytes, plain

if TYPE_CHECKING:
    from reconciler.inspection.status import AppRow
    from reconciler.metrics.instance_processes import InstanceProcess, RunningInstance

_COLUMNS = ("APP", "REVISION", "PID", "USER", "ROLE", "AGE", "MEMORY", "REQUESTS", "ACTIVITY")
_SPARE = ("REVISION", "USER", "ROLE", "AGE")


@click.command(help=__doc__, epilog=examples("reconciler ps", "reconciler ps blog", "reconciler ps 'shop-*' --json"))
@click.argument("apps", metavar="[APP]...", nargs=-1)
@all_option("Every app; the same as no name.")
@json_option
@state_option
def command(apps: Sequence[str], everything: bool, as_json: bool, state: Path | None) -> None:
    from reconciler.cli.app_names import shown_apps
    from reconciler.inspection.status import names_of, status
    from reconciler.metrics.instance_processes import running_instances

    refuse_both(apps, everything=everything)
    paths = paths_in_use(state)
    with open_snapshot(paths) as snapshot:
        chosen = shown_apps(names_of(snapshot), apps)
        rows = {row.name: row for row in status(snapshot, frozenset(chosen)).apps} if chosen else {}
        instances = running_instances(snapshot, chosen)
    if as_json:
        show_json({"apps": [_facts(name, instances) for name in chosen]})
        return
    cells = [_cells(instance, process) for instance in instances for process in instance.processes]
    if cells:
        click.echo("\n".join(lines(_COLUMNS, cells, None, _SPARE)))
    for name in _without(chosen, instances, named=bool(apps)):
        for line in wrapped(_why_none(rows[name]), width()):
            click.echo(line)
    if not chosen:
        click.echo("no apps")


def _without(chosen: Sequence[str], instances: "Sequence[RunningInstance]", *, named: bool) -> list[str]:
    """Return the chosen apps of which nothing runs: those that were named, or all if nothing runs at all."""
    running = {instance.app for instance in instances}
    return [name for name in chosen if name not in running] if named or not running else []


def _why_none(row: "AppRow") -> str:
    nothing = "no instance is running" if row.url else "no process is running"
    return plain(f"{row.name}: {nothing}; the app is {row.state}{f': {row.message}' if row.message else ''}")


def _cells(instance: "RunningInstance", process: "InstanceProcess") -> list[str]:
    from reconciler.inspection.users import name_of

    requests = "-" if process.requests is None else str(process.requests)
    role = instance.process if process.role == "process" else process.role
    cells = [instance.app, instance.revision, process.pid, name_of(instance.user), role, ago(process.age_s)]
    return [plain(cell) for cell in (*cells, megabytes(process.memory), requests, _activity(instance, process))]


def _activity(instance: "RunningInstance", process: "InstanceProcess") -> str:
    match process.activity:
        case "busy":
            return f"busy: {process.in_flight} in flight"
        case "idle":
            return f"idle for {ago(process.idle_s or 0.0)}"
        case "starting" | "unknown":
            return process.activity
    if process.role == "process":
        return "running" if instance.phase == "serving" else instance.phase
    return instance.phase if process.role == "master" else process.name


def _facts(name: str, instances: "Sequence[RunningInstance]") -> dict[str, Any]:
    own = [asdict(instance) for instance in instances if instance.app == name]
    return {"name": name, "instances": [{key: instance[key] for key in instance if key != "app"} for instance in own]}
