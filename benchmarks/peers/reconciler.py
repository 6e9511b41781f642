"""Ourselves, through the same manifests and commands as any operator."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks import processes
from benchmarks.bench import ROOT, Bench
from benchmarks.peers.peer import App, Peer, Room


class Reconciler(Peer):
    """The daemon with its defaults; a template has been warmed, as after the first app of any host."""

    name = "reconciler"
    checkout: ClassVar[Path] = ROOT
    log_name = "daemon.log"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "its manifest is renamed into the directory",
        "restart": "the daemon; told to be as quick after the tenth crash as after the first",
        "deploy": "the code is renamed into place: it is watched",
    }

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.bench = Bench(room.directory, checkout=self.checkout)
        self._since = 0

    def configure(self, apps: Sequence[App]) -> None:
        """Stage them: what is compared is serving."""
        self.apps = list(apps)
        for app in apps:
            self._write(app)
        self.bench.start()
        self.bench.until("running", [app.name for app in apps])
        self.bench.end()

    def start(self) -> None:
        self._since = self._last_event()
        self.process = self.bench.start()

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self._write(app)

    def deploy(self, app: App) -> None:
        """Nothing: the new code is seen."""

    def _write(self, app: App) -> None:
        crash = "crash: {first: 10ms, cap: 10ms, good_run: 100ms}"
        self.bench.drop(app.name, f"path: {app.code}\nport: {app.port}\nworkers: 1\n{crash}\n")

    def masters(self) -> dict[str, int]:
        told = self.bench.status()
        return {name: int(str(app["pid"])) for name, app in told.items() if app["pid"] is not None}

    def supervised(self) -> dict[str, int]:
        """Those whose adoption by this daemon is in the journal, with the pid it tells."""
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"file:{self.bench.state}/reconciler.db?mode=ro", uri=True)) as database,
        ):
            asked = f"SELECT {_column_of_names(database)}, text FROM event WHERE kind = 'adopted' AND id > ?"
            return {app: int(text.split()[1]) for app, text in database.execute(asked, (self._since,))}
        return {}

    def last_gate_s(self, app: App) -> float:
        """How long it took from the start of an app's newest instance until it passed its gate, by the journal."""
        place = f"file:{self.bench.state}/reconciler.db?mode=ro"
        with contextlib.closing(sqlite3.connect(place, uri=True)) as database:
            asked = f"SELECT max(at) FROM event WHERE {_column_of_names(database)} = ? AND kind = ?"
            started, ready = (database.execute(asked, (app.name, kind)).fetchone()[0] for kind in ("started", "ready"))
        return float(ready - started)

    def _last_event(self) -> int:
        with contextlib.suppress(sqlite3.OperationalError):
            place = f"file:{self.bench.state}/reconciler.db?mode=ro"
            with contextlib.closing(sqlite3.connect(place, uri=True)) as database:
                ((last,),) = database.execute("SELECT coalesce(max(id), 0) FROM event").fetchall()
                return int(last)
        return 0

    def of_manager(self) -> list[int]:
        """The daemon, and the keeper of its listeners; templates count with the apps, whose memory they share."""
        keepers = [pid for pid in processes.children(self.manager_pid()) if "keeper" in processes.command_line(pid)]
        return [self.manager_pid(), *keepers]

    def of_apps(self) -> list[int]:
        return [*super().of_apps(), *self._templates()]

    def _templates(self) -> list[int]:
        below = processes.children(self.manager_pid())
        programs = ("forkserver/main.py", "template_main.py")  # the second is an earlier commit's
        return [pid for pid in below if any(program in processes.command_line(pid) for program in programs)]

    def stop(self) -> None:
        self.bench.end()
        self.process = None


def _column_of_names(database: sqlite3.Connection) -> str:
    columns = {column for _, column, *_ in database.execute("PRAGMA table_info(event)")}
    return "name" if "name" in columns else "app"  # of an earlier commit
