"""What runit and s6 have in common: a directory of services, each a directory with a run script."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import App, Peer


class ServiceDirectory(Peer):
    """Its services are made elsewhere and renamed into place."""

    @property
    def services(self) -> Path:
        return self.room.directory / "services"

    def configure(self, apps: Sequence[App]) -> None:
        self.services.mkdir()
        self.apps = list(apps)
        for app in apps:
            self.add(app)

    def add(self, app: App) -> None:
        draft = self.room.directory / f"draft-{app.name}"
        draft.mkdir()
        run = draft / "run"
        command = " ".join(self.gunicorn(app))
        run.write_text(f"#!/bin/sh\nexec 2>&1\ncd {app.code} || exit 111\nexec {command} >/dev/null\n")
        run.chmod(0o755)
        draft.rename(self.services / app.name)
