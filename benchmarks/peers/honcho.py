"""honcho: everything in one Procfile, read once; all of it ends when any of it does."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import tools
from benchmarks.peers.peer import App, Peer

_READ_ONCE = "it reads its Procfile once, when it starts"
_ALL_END = "when one process ends, it ends all of them and itself"


class Honcho(Peer):
    """Started and stopped as a whole."""

    name = "honcho"
    program = "honcho"
    ways = {"deploy": "ended and started again as a whole"}  # noqa: RUF012  what it is, is told by the base
    cannot = {"drop": _READ_ONCE, "restart": _ALL_END}  # noqa: RUF012  the same

    @property
    def _procfile(self) -> Path:
        return self.room.directory / "Procfile"

    def configure(self, apps: Sequence[App]) -> None:
        self.apps = list(apps)
        lines = (f"{app.name}: cd {app.code} && exec {' '.join(self.gunicorn(app))}\n" for app in apps)
        self._procfile.write_text("".join(lines))

    def start(self) -> None:
        self.process = self.spawn([tools.tool("honcho").path, "--procfile", str(self._procfile), "start"])

    def drop(self, app: App) -> None:
        raise NotImplementedError(_READ_ONCE)

    def deploy(self, _: App) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait()
        self.start()
