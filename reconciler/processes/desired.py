"""The processes that the manifests of apps ask for, by the name under which each converges."""

from collections.abc import Mapping

from reconciler.planning.apps.app import App
from reconciler.planning.processes.process import AppProcess


def processes_of(apps: Mapping[str, App]) -> dict[str, AppProcess]:
    """Return every process of these apps, by `APP/PROCESS`."""
    found = (
        AppProcess(
            app=app.name,
            process=process,
            crash=app.crash,
            probation_s=app.probation_s,
            stops=app.state == "stopped",
            app_fingerprint=app.fingerprint,
        )
        for app in apps.values()
        for process in app.of_host.processes
    )
    return {each.name: each for each in found}
