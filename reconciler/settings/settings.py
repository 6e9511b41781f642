"""Every limit and interval of this host, frozen once the daemon is built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.notifications.targets import Target
from reconciler.planning.desired import CrashPolicy
from reconciler.planning.fingerprint import Json
from reconciler.state.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """Where the API and the page are on TCP: who sends the content of the file `token` is let in.

    `url` is how browsers name this host when it is not by address or localhost, such as https://apps.example.com.
    """

    host: str
    port: int
    token: Path
    writable: bool = False
    url: str | None = None


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _half_the_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceServer:
    """A server on which services are made. `host` may be a socket's directory or path; the password is in a file."""

    name: str
    type: str
    host: str = "127.0.0.1"
    port: int | None = None
    user: str | None = None
    password_file: Path | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this host behaves. Intervals are seconds, sizes bytes; a path in `staging_env` names the value's file."""

    manifests: Path
    paths: StatePaths
    first_port: int = 8000
    last_port: int = 8999
    interpreters: tuple[str, ...] = ()
    staging_slots: int = field(default_factory=_cores)
    starting_slots: int = field(default_factory=lambda: 2 * _cores())
    starting_slot_s: float = 3.0
    keeper_patience_s: float = 60.0
    fork_server_idle_s: float = 900.0
    fork_timeout_s: float = 1.0
    staging_timeout_s: float = 900.0
    staging_memory_bytes: int = field(default_factory=_half_the_memory)
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
    events_kept: int = 20_000
    notifications: tuple[Target, ...] = ()
    notify_every_s: float = 600.0
    notify_delay_s: float = 5.0
    api: Api | None = None
    api_idle_s: float = 300.0
    servers: Mapping[str, ServiceServer] = field(default_factory=dict)
    key_file: Path | None = None
    verify_every_s: float = 60.0
    grace_s: float = 3600.0

    @property
    def ports(self) -> range:
        """The ports apps without one of their own are given."""
        return range(self.first_port, self.last_port + 1)

    @property
    def key(self) -> Path:
        """The file of the key that opens what is stored encrypted."""
        return self.key_file or self.paths.state / "key"

    @property
    def auto_workers(self) -> int:
        """What `workers: auto` means here."""
        return min(2 * _cores() + 1, 16)
