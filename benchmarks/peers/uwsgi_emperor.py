"""uWSGI's Emperor: a directory of configuration files, each a vassal; uWSGI itself serves."""

import signal
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tools
from benchmarks.peers.peer import App, Peer


class UwsgiEmperor(Peer):
    """It looks at its directory every second here; by default it does every three."""

    name = "uWSGI Emperor"
    program = "uwsgi"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "a vassal's file is renamed into the directory (looked at every second)",
        "restart": "the Emperor",
        "deploy": "`touch` of the vassal's file",
    }
    ends_on = signal.SIGINT

    @property
    def _vassals(self) -> Path:
        return self.room.directory / "vassals"

    def configure(self, apps: Sequence[App]) -> None:
        self._vassals.mkdir()
        self.apps = list(apps)
        for app in apps:
            self._write(app)

    def _write(self, app: App) -> None:
        draft = self.room.directory / "draft"
        draft.write_text(
            f"[uwsgi]\nhttp-socket = 127.0.0.1:{app.port}\nchdir = {app.code}\nmodule = wsgi:application\n"
            "master = true\nprocesses = 1\nneed-app = true\ndisable-logging = true\n"
        )
        draft.rename(self._vassals / f"{app.name}.ini")

    def start(self) -> None:
        self.process = self.spawn([tools.tool("uwsgi").path, "--emperor", str(self._vassals), "--emperor-freq", "1"])

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self._write(app)

    def deploy(self, app: App) -> None:
        (self._vassals / f"{app.name}.ini").touch()

    def trace(self, app: App) -> str:
        return f"--ini {app.name}.ini"
