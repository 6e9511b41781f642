"""circus, with a file for each watcher."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import tools
from benchmarks.peers.peer import App, Peer, wait_for_file


class Circus(Peer):
    """Told of changes by `circusctl`, over its socket."""

    name = "circus"
    program = "circusd"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "a watcher's file, and `circusctl reloadconfig`",
        "restart": "circusd",
        "deploy": "`circusctl reload`, with `send_hup`: gunicorn is told to",
    }

    @property
    def _main(self) -> Path:
        return self.room.directory / "circus.ini"

    @property
    def _endpoint(self) -> Path:
        return self.room.directory / "endpoint"

    def configure(self, apps: Sequence[App]) -> None:
        self.apps = list(apps)
        (self.room.directory / "watchers").mkdir()
        self._main.write_text(
            f"[circus]\nendpoint = ipc://{self._endpoint}\npubsub_endpoint = ipc://{self.room.directory}/pubsub\n"
            "include = watchers/*.ini\n"
        )
        for app in apps:
            self._write(app)

    def _write(self, app: App) -> None:
        (self.room.directory / "watchers" / f"{app.name}.ini").write_text(
            f"[watcher:{app.name}]\ncmd = {' '.join(self.gunicorn(app))}\nworking_dir = {app.code}\n"
            "copy_env = True\nsend_hup = True\n"
        )

    def start(self) -> None:
        self.process = self.spawn([tools.tool("circusd").path, str(self._main)])

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self._write(app)
        self._control("reloadconfig")

    def deploy(self, app: App) -> None:
        self._control("reload", app.name)

    def _control(self, *words: str) -> None:
        wait_for_file(self._endpoint)
        self.tell(tools.neighbour("circusd", "circusctl"), "--endpoint", f"ipc://{self._endpoint}", *words)
