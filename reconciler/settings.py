"""Every path, limit and interval of this host, frozen once the daemon is built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.desired import CrashPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything lies below the state directory."""

    state: Path

    @property
    def database(self) -> Path:
        return self.state / "reconciler.db"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def doorbell(self) -> Path:
        return self.state / "doorbell"

    @property
    def control(self) -> Path:
        """The socket on which the daemon takes requests."""
        return self.state / "control.sock"

    @property
    def templates_log(self) -> Path:
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

    def builds(self, name: str) -> Path:
        return self.app(name) / "builds"

    def revisions(self, name: str) -> Path:
        return self.app(name) / "revisions"

    def passed(self, name: str) -> Path:
        return self.app(name) / "passed"

    def scratch(self, name: str) -> Path:
        return self.app(name) / "tmp"

    def home(self, name: str) -> Path:
        """What the app itself stores; it outlives the manifest and is never removed by the daemon."""
        return self.state / "homes" / name

    def log(self, name: str, which: str) -> Path:
        """A log file; `which` is app, access or staging."""
        return self.state / "logs" / name / f"{which}.log"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this host behaves. Intervals are seconds, sizes bytes; a path in `staging_env` names the value's file."""

    manifests: Path
    layout: Layout
    first_port: int = 8000
    last_port: int = 8999
    interpreters: tuple[str, ...] = ()
    staging_slots: int = field(default_factory=_cores)
    booting_slots: int = field(default_factory=lambda: 2 * _cores())
    booting_slot_s: float = 3.0
    template_idle_s: float = 900.0
    template_answer_s: float = 1.0
    staging_timeout_s: float = 900.0
    retention_s: float = 7 * 24 * 3600.0
    staging_env: Mapping[str, str | Path] = field(default_factory=dict, repr=False)
    retry_first_s: float = 1.0
    retry_cap_s: float = 60.0
    crash: CrashPolicy = CrashPolicy()
    prune_after_s: float = 30.0
    rescan_s: float = 60.0
    resync_s: float = 300.0
    quiet_s: float = 0.3
    longest_s: float = 5.0
    log_limit_bytes: int = 16 * 2**20
    logs_kept: int = 5

    @property
    def ports(self) -> range:
        """The ports apps without one of their own are given."""
        return range(self.first_port, self.last_port + 1)

    @property
    def auto_workers(self) -> int:
        """What `workers: auto` means here."""
        return min(2 * _cores() + 1, 16)


def default_state() -> Path:
    """Where state is kept unless the command line or RECONCILER_STATE says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/reconciler")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "reconciler"
