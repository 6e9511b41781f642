"""Print what the pods of an app in a cluster wrote."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial

import click

from reconciler.cluster.api.client import ApiError
from reconciler.cluster.reading import PodLine, Reader
from reconciler.inspection.printable import json_text, plain
from reconciler.linux.dataclass import dataclass

_WEB = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be printed of an app: the last `lines` of each pod, None for all, or those `since` a time."""

    app: str
    streams: Sequence[str]
    lines: int | None
    since: float | None
    follow: bool
    json: bool


def print_logs(reader: Reader, asked: Asked, *, previous: bool, others: bool) -> None:
    """Print them. Raises UsageError for what only logs of a host have, ClickException if the cluster cannot say."""
    where = f"{asked.app} runs in {reader.cluster.name}"
    if others:
        raise click.UsageError(f"{where}: --grep and --raw are for logs of this host; pipe its lines through grep")
    if any(stream == "access" for stream in asked.streams):
        raise click.UsageError(f"{where}, where a pod has one stream: leave out --which access")
    parameters = _parameters(asked, previous=previous)
    show: Callable[[PodLine], None] = partial(_print, asked.app, as_json=asked.json)
    try:
        for stream in asked.streams:
            part = _WEB if stream == "app" else f"process.{stream.rpartition('.')[0]}"
            if asked.follow:
                with contextlib.suppress(KeyboardInterrupt):
                    asyncio.run(reader.follow(asked.app, part, parameters, show))
            elif not asyncio.run(reader.lines(asked.app, part, parameters, show)):
                click.echo(
                    plain(f"{where}, and no pod of it is there: 'reconciler status {asked.app}' says why"), err=True
                )
    except* ApiError as errors:
        error = errors.exceptions[0]
        text = f"cannot read the logs of {asked.app} in {reader.cluster.name}: {error}"
        raise click.ClickException(plain(text)) from None


def _parameters(asked: Asked, *, previous: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    if asked.lines is not None:
        found["tailLines"] = str(asked.lines)
    if asked.since is not None:
        found["sinceSeconds"] = str(max(1, round(time.time() - asked.since)))  # noqa: TID251  as it is asked for
    if previous:
        found["previous"] = "true"
    return found


def _print(app: str, line: PodLine, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text({"app": app, "pod": line.pod, "text": line.text}))
    else:
        click.echo(f"{plain(line.pod.removeprefix(f'{app}-'))}  {plain(line.text)}")
