"""The settings of this host: the one table of every limit and interval, its place in the file, and its default."""

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.documents.units import size_bytes
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import CrashPolicy
from reconciler.planning.fingerprint import Json
from reconciler.planning.isolation.confinement import Isolation, Part
from reconciler.planning.isolation.limits import Limits
from reconciler.settings.place import DEFAULT_SETTINGS
from reconciler.settings.setting import duration, most, number, share, size, text
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.notifications.target import Target
    from reconciler.settings.clusters import Cluster
    from reconciler.settings.git import GitOrigin, Repository
    from reconciler.settings.proxy import Proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The TCP address of the API and the page; clients need the content of the file `token`.

    Port 0 is a free one, and then the daemon writes the token itself. `url` is the URL of this host behind a proxy,
    such as https://apps.example.com.
    """

    host: str
    port: int
    token: Path
    writable: bool = False
    url: str | None = None

    @property
    def browser_url(self) -> str:
        """The URL for a browser, without a slash at its end: at the proxy, else at this address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return self.url or f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Where the lines of every app's logs are passed on to, as the file names it, and of which streams."""

    to: str
    streams: tuple[str, ...] = ("app", "access")

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port of a target that is reached over UDP; a host without brackets."""
        host, _, port = self.to.removeprefix("udp://").rpartition(":")
        return host.strip("[]"), int(port)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _half_the_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _tenth_of_the_memory() -> int:
    return _half_the_memory() // 5


def _any(_: str) -> str:
    return ""  # the schema names what there is


def _zone_problem(name: str) -> str:
    from reconciler.planning.schedules.zones import zone_of  # most hosts name none

    try:
        zone_of(name)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceServer:
    """A server on which services are created. `host` may be a socket's directory or path."""

    name: str
    type: str
    host: str = "127.0.0.1"
    port: int | None = None
    user: str | None = None
    password_file: Path | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this host behaves. Durations are in seconds, sizes in bytes; a path in `staging_env` names the value's file.

    `file` is the settings file, None without one. `short_origin` is the origin in git that was named in place of a
    directory of manifests, as it was written; the directory is then in the state directory. `identities` are files of
    private keys, and `recipients` what new secrets are encrypted to. Without the `isolation_required` parts no app
    starts; `isolation_mounts` are the directories that manifests may ask for. `keeper_patience_s` is not
    in the file; `crash` is, with its three parts.
    """

    manifests: Path
    paths: StatePaths
    file: Path | None = None
    short_origin: str | None = None
    first_port: int = number("ports.first", "8000")
    last_port: int = number("ports.last", "8999")
    interpreters: tuple[str, ...] = ()
    staging_slots: int = number("staging.concurrency", _cores)
    staging_slot_s: float = duration("staging.slot", "2m")
    staging_timeout_s: float = duration("staging.timeout", "15m")
    staging_memory_bytes: int = size("staging.memory", _half_the_memory, least="64M")
    retention_s: float = duration("staging.retention", "7d", may_be_zero=True)
    staging_env: Mapping[str, str | Path] = field(default_factory=dict, repr=False)
    starting_slots: int = number("starting.concurrency", lambda: 2 * _cores())
    starting_slot_s: float = duration("starting.slot", "3s")
    fork_timeout_s: float = duration("starting.fork_timeout", "1s")
    fork_server_idle_s: float = duration("starting.keep_warm", "15m")
    keeper_patience_s: float = 60.0
    retry_first_s: float = duration("retry.first", "1s")
    retry_cap_s: float = duration("retry.cap", "60s")
    crash: CrashPolicy = CrashPolicy()
    prune_after_s: float = duration("prune_after", "30s", may_be_zero=True)
    rescan_s: float = duration("rescan", "60s")
    resync_s: float = duration("resync", "5m")
    quiet_s: float = duration("settle.quiet", "300ms", may_be_zero=True)
    longest_s: float = duration("settle.longest", "5s")
    log_limit_bytes: int = size("logs.limit", "16M", least="4K")
    logs_kept: int = number("logs.keep", "5")
    drain: Drain | None = None
    events_kept: int = number("journal.keep", "20000")
    notifications: "tuple[Target, ...]" = ()
    notify_every_s: float = duration("notify.every", "10m", may_be_zero=True)
    notify_delay_s: float = duration("notify.delay", "5s", may_be_zero=True)
    identities: tuple[Path, ...] = ()
    recipients: tuple[str, ...] = ()
    open_command: tuple[str, ...] = ()
    origins: "tuple[GitOrigin, ...]" = ()
    repositories: "Mapping[str, Repository]" = field(default_factory=dict)
    git_host: str = ""
    proxy: "Proxy | None" = None
    clusters: "Mapping[str, Cluster]" = field(default_factory=dict)
    api: Api | None = None
    api_idle_s: float = duration("api.idle", "5m")
    servers: Mapping[str, ServiceServer] = field(default_factory=dict)
    key_file: Path | None = None
    verify_every_s: float = duration("services.verify_every", "60s")
    backup_slots: int = number("services.backup_concurrency", "2")
    tasks_at_once: int = number("tasks.concurrency", _cores)
    tasks_nice: int = number("tasks.nice", "5")
    tasks_kept_s: float = duration("tasks.keep", "30d")
    task_timeout_s: float = duration("tasks.timeout", "24h")
    schedules_zone: str = text("schedules.zone", "UTC", _zone_problem)
    grace_s: float = duration("services.grace", "1h", may_be_zero=True)
    most_memory_bytes: int | None = most("limits.memory", size_bytes, least="16M")
    most_cpu: float | None = most("limits.cpu", float, least="0.01")
    most_processes: int | None = most("limits.processes", int, least="2")
    most_files: int | None = most("limits.files", int, least="64")
    most_disk_bytes: int | None = most("limits.disk", size_bytes, least="1M")
    scaling_workers: int = number("scaling.workers", lambda: 4 * _cores())
    scaling_memory_bytes: int = size("scaling.memory", _tenth_of_the_memory, least="16M")
    scaling_pressure: float = share("scaling.pressure", "40%")
    limits_rest_s: float = duration("limits.rest", "10m", may_be_zero=True)
    isolation_default: Isolation = text("isolation.default", "none", _any)
    first_uid: int = number("isolation.uids.first", "70000")
    last_uid: int = number("isolation.uids.last", "79999")
    isolation_required: tuple[Part, ...] = ()
    isolation_mounts: tuple[str, ...] = ()

    @property
    def ports(self) -> range:
        """The ports leased to apps whose manifests name none."""
        return range(self.first_port, self.last_port + 1)

    @property
    def uids(self) -> range:
        """The users, by number, leased to isolated apps."""
        return range(self.first_uid, self.last_uid + 1)

    @property
    def limits(self) -> Limits:
        """The most that each instance of an app may use, and what it may use if its manifest says nothing."""
        return Limits(
            memory=self.most_memory_bytes,
            cpu=self.most_cpu,
            processes=self.most_processes,
            files=self.most_files,
            disk=self.most_disk_bytes,
        )

    @property
    def unopened(self) -> tuple[Path, ...]:
        """The directories of the origins whose encrypted files are not opened."""
        return tuple(self.paths.origin(each.name) for each in self.origins if each.may.get("secrets") is False)

    @property
    def manifests_from(self) -> str:
        """Where the manifests come from, in an operator's words."""
        if self.short_origin is not None:
            return f"manifests from {self.short_origin} (not signed) and in {self.manifests}"
        names = ", ".join(each.name for each in self.origins if not each.is_source)
        return f"manifests of {names} and in {self.manifests}" if names else f"manifests in {self.manifests}"

    @property
    def place(self) -> Path:
        """The settings file, or where one would be read from by default."""
        return self.file or Path(DEFAULT_SETTINGS)

    @property
    def key(self) -> Path:
        """The file of the key that encrypts stored secrets."""
        return self.key_file or self.paths.state / "key"

    @property
    def auto_workers(self) -> int:
        """The number of workers that `workers: auto` stands for."""
        return min(2 * _cores() + 1, 16)
