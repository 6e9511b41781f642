"""runit: a directory of services, each with a run script and a `runsv` of its own."""

import contextlib
import signal

from benchmarks import tools
from benchmarks.peers.peer import App, wait_for_file
from benchmarks.peers.service_directory import ServiceDirectory


class Runit(ServiceDirectory):
    """`runsvdir` looks at its directory every five seconds; nothing makes it look sooner."""

    name = "runit"
    program = "runsvdir"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "a service's directory is renamed into place (looked at every 5 s)",
        "restart": "its `runsv`",
        "deploy": "`sv restart`",
    }
    ends_on = signal.SIGHUP

    def start(self) -> None:
        self.process = self.spawn([tools.tool("runsvdir").path, str(self.services)])

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self.add(app)

    def deploy(self, app: App) -> None:
        wait_for_file(self.services / app.name / "supervise" / "ok")
        self.tell(tools.neighbour("runsvdir", "sv"), "restart", str(self.services / app.name))

    def supervised(self) -> dict[str, int]:
        """What each `runsv` tells: it outlives `runsvdir`, and the next one leaves it in place."""
        found: dict[str, int] = {}
        for app in self.apps:
            with contextlib.suppress(OSError, ValueError):
                found[app.name] = int((self.services / app.name / "supervise" / "pid").read_text())
        return found
