"""Show what apps in clusters use."""

import asyncio
from typing import TYPE_CHECKING

from reconciler.cli.chosen_settings import settings_of
from reconciler.cluster.api.client import ApiError
from reconciler.cluster.reading import Reader, Use, apps_in
from reconciler.inspection.printable import megabytes, plain
from reconciler.state.schema import state_id

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_UNMEASURED = "what they use is not measured there: install metrics-server"


def use_lines(paths: "StatePaths") -> list[str]:
    """Return a line for each app in a cluster, and one for each cluster that cannot say."""
    return [
        line
        for name, cluster in settings_of(None, paths.state, None).clusters.items()
        if (apps := apps_in(paths, name))
        for line in _of_cluster(Reader(cluster=cluster, installation=state_id(paths.state)), apps)
    ]


def _of_cluster(reader: Reader, apps: list[str]) -> list[str]:
    name = reader.cluster.name
    try:
        uses = asyncio.run(reader.uses(apps))
    except ApiError as error:
        return [plain(f"{name}: cannot be asked: {error}")]
    return [plain(f"{name}: {app}: {_said(use)}") for app, use in uses.items()]


def _said(use: Use) -> str:
    pods = f"{use.ready} of {use.pods} pods ready"
    if use.cores is None or use.memory is None:
        return f"{pods}; {_UNMEASURED}" if use.pods else pods
    return f"{pods}, {use.cores:.2f} cores, {megabytes(use.memory)}"
