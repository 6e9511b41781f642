"""supervisord, with a file for each program."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import tools
from benchmarks.peers.peer import App, Peer, wait_for_file


class Supervisord(Peer):
    """Told of changes by `supervisorctl`, over its socket."""

    name = "supervisord"
    program = "supervisord"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "a program's file, and `supervisorctl update`",
        "restart": "`autorestart=true`",
        "deploy": "`supervisorctl restart`",
    }

    @property
    def _main(self) -> Path:
        return self.room.directory / "supervisord.conf"

    def configure(self, apps: Sequence[App]) -> None:
        self.apps = list(apps)
        (self.room.directory / "conf.d").mkdir()
        self._main.write_text(
            "[unix_http_server]\nfile = %(here)s/socket\n"
            "[supervisord]\nlogfile = %(here)s/supervisord.log\npidfile = %(here)s/pid\nminfds = 4096\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[supervisorctl]\nserverurl = unix://%(here)s/socket\n"
            "[include]\nfiles = conf.d/*.conf\n"
        )
        for app in apps:
            self._write(app)

    def _write(self, app: App) -> None:
        (self.room.directory / "conf.d" / f"{app.name}.conf").write_text(
            f"[program:{app.name}]\ncommand = {' '.join(self.gunicorn(app))}\ndirectory = {app.code}\n"
            "autorestart = true\nstopasgroup = true\nkillasgroup = true\n"
            "stdout_logfile = NONE\nstderr_logfile = NONE\n"
        )

    def start(self) -> None:
        self.process = self.spawn([tools.tool("supervisord").path, "--nodaemon", "--configuration", str(self._main)])

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self._write(app)
        self._control("update")

    def deploy(self, app: App) -> None:
        self._control("restart", app.name)

    def _control(self, *words: str) -> None:
        wait_for_file(self.room.directory / "socket")
        self.tell(tools.neighbour("supervisord", "supervisorctl"), "--configuration", str(self._main), *words)
