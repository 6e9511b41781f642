"""Check what reconciler itself depends on: ports, manifests, the daemon, the clock."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.inspection.checks.check import Check
from reconciler.inspection.checks.kernel import number_in
from reconciler.inspection.manifests import problems_of
from reconciler.inspection.missing import warnings_of
from reconciler.linux.host_ports import ephemeral_range
from reconciler.linux.regular_files import read_record
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog

_FEW_PORTS = 20
_LARGEST_RECORD = 64 * 2**20
_RECENTLY_S = 86400.0


def ports(settings: Settings, catalog: "Catalog") -> Iterator[Check]:
    """Check that the host's port range has free ports that the daemon may use."""
    from reconciler.serving.free_ports import is_free

    ours = _leased(settings) | {app.port for app in catalog.apps.values()}
    taken = [port for port in settings.ports if port not in ours and not is_free("127.0.0.1", port)]
    free = len(settings.ports) - len(taken) - len(ours & set(settings.ports))
    others = f", {len(taken)} used by other programs" if taken else ""
    found = f"{settings.first_port} to {settings.last_port}: {free} of {len(settings.ports)} free{others}"
    advice = "choose another range: 'ports' in the host's settings"
    yield Check(
        level="fail" if not free else "warn" if free < _FEW_PORTS else "ok",
        subject="ports",
        found=found,
        advice=advice if free < _FEW_PORTS else "",
    )
    low, high = ephemeral_range()
    if settings.first_port <= high and low <= settings.last_port:
        found = f"the range overlaps {low} to {high}, which the kernel uses for outgoing connections"
        yield Check(level="warn", subject="ports", found=found, advice=advice)
    unprivileged = number_in(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")) or 0
    if settings.first_port < unprivileged and os.geteuid():
        found = f"only root may listen on ports below {unprivileged}"
        yield Check(level="fail", subject="ports", found=found, advice=advice)


def _leased(settings: Settings) -> set[int]:
    """Return the ports leased to apps; running apps use them."""
    from reconciler.state.records import Records
    from reconciler.state.schema import OtherVersion, open_database

    if not settings.paths.database.exists():
        return set()
    try:
        with contextlib.closing(open_database(settings.paths.database, read_only=True)) as database:
            return set(Records(database).leases().values())
    except (OtherVersion, sqlite3.Error):
        return set()


def manifests(settings: Settings, catalog: "Catalog") -> Iterator[Check]:
    """Check that the manifests can be read and are valid."""
    problems = sum(1 for _ in problems_of(catalog))
    if catalog.notice:
        advice = "create it, or name another with --manifests; until then, no app is started or stopped"
        yield Check(level="fail", subject="manifests", found=catalog.notice.partition(";")[0], advice=advice)
    elif problems:
        found = f"{counted(problems, 'problem')} in {settings.manifests}"
        yield Check(level="warn", subject="manifests", found=found, advice="'reconciler validate' lists them")
    elif missing := sum(
        1 for _ in warnings_of(catalog, settings.manifests, settings.paths.state, settings.interpreters)
    ):
        found = f"{counted(missing, 'warning')} about {settings.manifests}"
        yield Check(level="warn", subject="manifests", found=found, advice="'reconciler validate' lists them")
    else:
        found = f"{settings.manifests}: {counted(len(catalog.files), 'file')}, {counted(len(catalog.apps), 'app')}"
        yield Check(level="ok", subject="manifests", found=found)


def settings_file(settings: Settings, unusable: str | None) -> Iterator[Check]:
    """Check that the settings file can be used; `unusable` says why it cannot."""
    if unusable:
        advice = "correct it: a daemon does not start with it; the other checks use the defaults"
        yield Check(level="fail", subject="settings", found=unusable, advice=advice)
        return
    none = f"there is no {settings.place}, so every setting has its default"
    found = none if settings.file is None else str(settings.file)
    yield Check(level="ok", subject="settings", found=found)


def daemon(settings: Settings) -> Iterator[Check]:
    """Check that a daemon is running."""
    from reconciler.state.lock import holder

    pid = holder(settings.paths)
    if pid is not None:
        yield Check(level="ok", subject="daemon", found=f"running, pid {pid}")
    else:
        advice = "start it with 'reconciler run'; without it, apps keep serving, but unsupervised"
        yield Check(level="warn", subject="daemon", found="not running", advice=advice)


def log_drain(settings: Settings) -> Iterator[Check]:
    """Check that lines of logs reach the target of the settings; nothing without one."""
    if settings.drain is None:
        return
    to, record = settings.drain.to, _drained(settings.paths.drained)
    dropped, dropped_at = record.get("dropped"), record.get("dropped_at")
    dropped = dropped if isinstance(dropped, int) else 0
    ago_s = time.time() - (dropped_at if isinstance(dropped_at, float) else 0.0)  # noqa: TID251  of another process
    lost = f"; {counted(dropped, 'line')} dropped so far" if dropped else ""
    if record.get("to") != to:
        found = f"nothing was passed on to {to} yet"
        advice = "start the daemon, or start it again: it reads the settings when it starts"
        yield Check(level="warn", subject="log drain", found=found, advice=advice)
    elif problem := record.get("problem"):
        advice = "the apps' own logs have every line until they are rotated away; 'reconciler events' says since when"
        found = f"not every line is passed on to {to}: {problem}{lost}"
        yield Check(level="warn", subject="log drain", found=found, advice=advice)
    else:
        yield Check(
            level="warn" if dropped and ago_s < _RECENTLY_S else "ok",
            subject="log drain",
            found=f"logs are passed on to {to}{lost}",
            advice="'reconciler events' says why" if dropped and ago_s < _RECENTLY_S else "",
        )


def _drained(file: Path) -> Mapping[str, Any]:
    try:
        record = read_record(file, _LARGEST_RECORD)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def clock(database: Path) -> Iterator[Check]:
    """Check the clock against files written earlier: if it is behind them, certificates seem not valid yet."""
    now = time.time()  # noqa: TID251  the wall clock itself is what is checked
    written = [path.stat().st_mtime for path in (Path(__file__), database) if path.exists()]
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now + 60 < max(written):
        advice = "set it and keep it right with NTP: downloads fail while certificates seem not valid yet"
        yield Check(level="fail", subject="clock", found=f"{shown} is earlier than existing files", advice=advice)
    else:
        yield Check(level="ok", subject="clock", found=shown)
