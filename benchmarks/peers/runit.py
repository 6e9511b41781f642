"""runit: a directory of services, each with a run script and a `runsv` of its own."""

import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tools
from benchmarks.peers.peer import App, Peer, run_script, wait_for_file


class Runit(Peer):
    """`runsvdir` looks at its directory every five seconds; nothing makes it look sooner."""

    name = "runit"
    program = "runsvdir"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "a service's directory is renamed into place (looked at every 5 s)",
        "restart": "its `runsv`",
        "deploy": "`sv restart`",
    }
    ends_on = signal.SIGHUP

    @property
    def _services(self) -> Path:
        return self.room.directory / "services"

    def configure(self, apps: Sequence[App]) -> None:
        self._services.mkdir()
        self.apps = list(apps)
        for app in apps:
            self._write(app)

    def _write(self, app: App) -> None:
        draft = self.room.directory / f"draft-{app.name}"
        draft.mkdir()
        run = draft / "run"
        run.write_text(run_script(self, app))
        run.chmod(0o755)
        draft.rename(self._services / app.name)

    def start(self) -> None:
        self.process = self.spawn([tools.tool("runsvdir").path, str(self._services)])

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self._write(app)

    def deploy(self, app: App) -> None:
        wait_for_file(self._services / app.name / "supervise" / "ok")
        self.tell(tools.neighbour("runsvdir", "sv"), "restart", str(self._services / app.name))

    def supervised(self) -> dict[str, int]:
        """What each `runsv` tells: it outlives `runsvdir`, and the next one leaves it in place."""
        found: dict[str, int] = {}
        for app in self.apps:
            with contextlib.suppress(OSError, ValueError):
                found[app.name] = int((self._services / app.name / "supervise" / "pid").read_text())
        return found
