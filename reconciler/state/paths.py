"""Where everything lies below the state directory, and where that is unless somebody says otherwise."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePaths:
    """Where everything lies below the state directory."""

    state: Path

    @property
    def database(self) -> Path:
        return self.state / "reconciler.db"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def wakeup_pipe(self) -> Path:
        return self.state / "doorbell"

    @property
    def control(self) -> Path:
        """The socket on which the daemon takes requests."""
        return self.state / "control.sock"

    @property
    def api(self) -> Path:
        """The socket on which the API and the page are."""
        return self.state / "api.sock"

    @property
    def web_log(self) -> Path:
        """What the process that answers there says, which is nothing unless it fails."""
        return self.state / "web.log"

    @property
    def keeper(self) -> Path:
        """The socket of the process that holds the listeners while no daemon does."""
        return self.state / "keeper.sock"

    @property
    def fork_servers_log(self) -> Path:
        """What warm templates say, which is nothing unless they fail."""
        return self.state / "templates.log"

    @property
    def environments(self) -> Path:
        return self.state / "environments"

    @property
    def cache(self) -> Path:
        return self.state / "cache"

    @property
    def apps(self) -> Path:
        return self.state / "apps"

    def app(self, name: str) -> Path:
        return self.apps / name

    def service(self, name: str, service: str) -> Path:
        """What a service keeps on this host, by its name and id."""
        return self.state / "services" / name / service

    @property
    def backups(self) -> Path:
        return self.state / "backups"

    def builds(self, name: str) -> Path:
        return self.app(name) / "builds"

    def revisions(self, name: str) -> Path:
        return self.app(name) / "revisions"

    def readiness(self, name: str) -> Path:
        return self.app(name) / "passed"

    def scratch(self, name: str) -> Path:
        return self.app(name) / "tmp"

    def home(self, name: str) -> Path:
        """What the app itself stores; it outlives the manifest and is never removed by the daemon."""
        return self.state / "homes" / name

    def log(self, name: str, which: str) -> Path:
        """A log file; `which` is app, access or staging."""
        return self.state / "logs" / name / f"{which}.log"


def default_state() -> Path:
    """Where state is kept unless the command line or RECONCILER_STATE says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/reconciler")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "reconciler"
