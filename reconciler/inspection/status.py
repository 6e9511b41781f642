"""The state of every app, service and manifest on this host, as the commands, the page and the API show it.

Reads a snapshot, so the daemon need not be running.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.inspection.asked_by_operators import HeldNumber, OverrideInEffect, held_number, override_in_effect
from reconciler.inspection.canary_share import canary_share
from reconciler.inspection.process_rows import ProcessRow, process_rows
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.inspection.users import own_user
from reconciler.inspection.without_daemon import without_daemon
from reconciler.planning.address import Address
from reconciler.planning.fingerprint import Json
from reconciler.state.records import AppStatus, ServiceStatus

if TYPE_CHECKING:
    from reconciler.staging.staged import Staged

_CANARY = "canary"
_NOT_OBSERVED = "the daemon has not looked at it yet"
# With less, SQLite cannot be relied on to write: a transaction takes pages of the database and of its log.
_ROOM_TO_RECORD = 256 * 1024


# Named tuples: `status` makes these classes at every start, and a dataclass of so many fields takes milliseconds.


class AppRow(NamedTuple):
    """One app. `revision` serves, `wanted_revision` should; `since` and `next_try_at` are wall-clock seconds.

    `url` and `port` are where it serves, or where it is to serve while it does not, `port_url` the port at which it
    serves as well as at a domain; `wanted_url` is where it is to serve if that is another. `restarts` counts from
    when the revision served first. `commit` is the commit that brought the source which is desired. `processes` are
    those that are not web. `worker_range` are the fewest and the most workers of an app that has as many as it needs.
    `held_workers` is the number that an operator asked for. `canary_share` is the part of new connections that a canary
    gets, of 1; None without one. `user` is the number of the user that it runs as if that is its own.
    """

    name: str
    state: str
    reason: str = ""
    message: str = ""
    url: str | None = None
    port: int | None = None
    wanted_url: str | None = None
    revision: str | None = None
    wanted_revision: str | None = None
    override: OverrideInEffect | None = None
    runtime: str | None = None
    pid: int | None = None
    workers: int = 0
    worker_range: Sequence[int] | None = None
    held_workers: HeldNumber | None = None
    restarts: int = 0
    since: float | None = None
    next_try_at: float | None = None
    services: Sequence[str] = ()
    persist: Sequence[str] = ()
    manifest: str | None = None
    commit: str | None = None
    processes: Sequence[ProcessRow] = ()
    schedules: Sequence[Mapping[str, Any]] = ()
    canary_share: float | None = None
    port_url: str | None = None
    user: int | None = None

    @property
    def places(self) -> str:
        """Where it serves and where it is to, as one text; "" for nowhere."""
        return places(self.url, self.port_url, self.wanted_url)

    def facts(self) -> dict[str, Json]:
        """Return the row as JSON data."""
        override = self.override
        return {
            **{name: getattr(self, name) for name in self._fields},
            "override": None if override is None else {"kind": override.kind, "revision": override.revision},
            "held_workers": None if self.held_workers is None else self.held_workers._asdict(),
            "services": [*self.services],
            "persist": [*self.persist],
            "processes": [row.facts() for row in self.processes],
            "schedules": [*self.schedules],
        }


def places(url: str | None, port_url: str | None, wanted_url: str | None) -> str:
    """Return where an app serves, and where it is to, as one text; "" for nowhere."""
    served = " ".join(filter(None, (url, port_url)))
    return " → ".join(filter(None, (served, wanted_url)))


class ServiceRow(NamedTuple):
    """One service. `apps` hold credentials of it, `size` is in bytes, `id` is that of its record."""

    name: str
    type: str | None = None
    plan: str | None = None
    label: str | None = None
    server: str | None = None
    apps: Sequence[str] = ()
    size: int | None = None
    state: str = "pending"
    reason: str = ""
    message: str = _NOT_OBSERVED
    since: float | None = None
    next_try_at: float | None = None
    retain: bool | None = None
    id: str | None = None
    manifest: str | None = None

    def facts(self) -> dict[str, Json]:
        """Return the row as JSON data."""
        return {**{name: getattr(self, name) for name in self._fields}, "apps": [*self.apps]}


class HostStatus(NamedTuple):
    """`daemon` is its pid, None when none is running; `manifests` holds each file with its errors, as JSON data.

    `notice` says what concerns the whole host, None when nothing does; `origins` and `domains` hold each origin in git
    and each domain, as data.
    """

    daemon: int | None = None
    apps: Sequence[AppRow] = ()
    services: Sequence[ServiceRow] = ()
    manifests: Sequence[Mapping[str, Any]] = ()
    notice: str | None = None
    origins: Sequence[Mapping[str, Any]] = ()
    domains: Sequence[Mapping[str, Any]] = ()

    @property
    def without_daemon(self) -> str | None:
        """What it means for the apps that no daemon is running, None while one is."""
        if self.daemon is not None:
            return None
        if any(app.pid is not None for app in self.apps):
            return "no daemon is running: the apps keep serving, but nothing supervises them ('reconciler run' does)"
        return "no daemon is running, and no app is serving: 'reconciler run' starts them"

    def facts(self, version: str | None = None) -> dict[str, Any]:
        """Return what `status --json` prints; `version` is that of the program that prints it."""
        daemon: dict[str, Json] = {"running": self.daemon is not None, "pid": self.daemon}
        return {
            "daemon": daemon if version is None else {**daemon, "version": version},
            "apps": [row.facts() for row in self.apps],
            "services": [row.facts() for row in self.services],
            "manifests": [*self.manifests],
            "origins": [*self.origins],
            "domains": [*self.domains],
            "notice": self.notice,
        }


def names_of(snapshot: HostSnapshot) -> frozenset[str]:
    """Return the names of the apps that `status` has rows for."""
    known = _known(snapshot)
    refused = _refused(snapshot.desired.get("files", []))
    return frozenset((*known, *(each.name for each in refused if each.kind == "app")))


def status(snapshot: HostSnapshot, only: Collection[str] = ()) -> HostStatus:
    """Return the state of everything on the host; with `only`, of these apps."""
    desired = snapshot.desired
    files: list[dict[str, Any]] = desired.get("files", [])
    apps: dict[str, dict[str, Any]] = desired.get("apps", {})
    kinds = ["restarts", "pin", "processes", "held_workers"]
    if any(last.state == _CANARY for last in snapshot.app_statuses.values()):
        kinds.append(_CANARY)
    histories = {what: snapshot.records.history_of(what) for what in kinds}
    names = _known(snapshot)
    rows = [
        _app(snapshot, name, apps.get(name, {}), {what: found.get(name) for what, found in histories.items()})
        for name in names
        if not only or name in only
    ]
    rows += [
        AppRow(name=each.name, state="invalid", reason=each.reason, message=each.message, manifest=each.file)
        for each in _refused(files)
        if each.kind == "app" and each.name not in names and (not only or each.name in only)
    ]
    return HostStatus(
        daemon=snapshot.daemon,
        apps=rows,
        services=[*_services(snapshot, desired.get("services", {}), files)] if not only else [],
        manifests=[
            {"file": entry["file"], "errors": entry["errors"]}
            for entry in files
            if not only or any(kind == "app" and name in only for kind, name in _subjects(entry))
        ],
        notice="; ".join(filter(None, (desired.get("notice"), _unwritable(snapshot.paths.state)))) or None,
        origins=snapshot.origins if not only else [],
        domains=[each for each in snapshot.domains if not only or each["app"] in only],
    )


def _known(snapshot: HostSnapshot) -> list[str]:
    """Return the names of the apps that are desired, were reported or run, in order."""
    running = {*snapshot.instances, *snapshot.processes}
    return sorted({*snapshot.app_statuses, *snapshot.desired.get("apps", {}), *running})


def _app(snapshot: HostSnapshot, name: str, desired: Mapping[str, Any], histories: Mapping[str, str | None]) -> AppRow:
    serving = [record for record in snapshot.instances.get(name, []) if record.ready_at is not None]
    last = snapshot.app_statuses.get(name) or AppStatus(
        state="pending", message=_NOT_OBSERVED, wanted=None, since=0, next_try_at=None
    )
    if last.state == _CANARY:  # what most clients get is told as what serves, and the canary as what should
        serving.sort(key=lambda record: record.revision != last.wanted)
    newest = serving[-1] if serving else None
    build = snapshot.staged(name, newest.build) if newest else None
    if snapshot.daemon is None and desired:
        last = without_daemon(last, serves=newest is not None)
    if newest is not None and last.state == "running" and not last.message:
        last = _with_note(last, snapshot.paths.readiness(name) / newest.id, build)
    schedules: Sequence[Mapping[str, Any]] = ()
    if desired.get("schedules"):
        from reconciler.inspection.schedules import note_on_schedules, schedule_rows  # most apps have none

        schedules = schedule_rows(snapshot, name, desired["schedules"])
        if last.state in {"running", "sleeping"} and not last.message:
            last = replace(last, message=note_on_schedules(schedules))
    url, port = desired.get("url"), desired.get("port")
    address, *others = (None,) if newest is None else newest.addresses or (None,)
    beside = next(iter(others), None)
    moves = address is not None and url is not None and not _is_at(url, address)
    return AppRow(
        name=name,
        state=last.state,
        reason=last.reason,
        message=last.message,
        url=_at_domain(snapshot, name, _url_at(address, url) if moves and address is not None and url else url),
        port=((beside or address).port or None) if address is not None and (moves or beside) else port,
        wanted_url=_at_domain(snapshot, name, url) if moves else None,
        revision=newest.revision if newest else None,
        wanted_revision=last.wanted,
        override=override_in_effect(histories["pin"], last),
        runtime=_runtime(build) if build else desired.get("runtime"),
        pid=(newest.pid or None) if newest else None,
        workers=newest.workers if newest and newest.has_program else 0,
        worker_range=desired.get("worker_range"),
        held_workers=held_number(histories["held_workers"], desired),
        canary_share=canary_share(histories.get(_CANARY)) if last.state == _CANARY else None,
        restarts=_restarts(histories["restarts"]),
        since=last.since or None,
        next_try_at=last.next_try_at,
        services=desired.get("services", ()),
        persist=desired.get("persist", ()),
        manifest=desired.get("manifest"),
        commit=desired.get("commit") or None,
        processes=process_rows(desired.get("processes", {}), histories["processes"], snapshot, name),
        schedules=schedules,
        port_url=desired.get("port_url") if address is None else _url_at(beside, desired.get("port_url") or ""),
        user=own_user([*serving, *snapshot.processes.get(name, ())]),
    )


def _runtime(build: "Staged") -> str | None:
    """Return what runs a build, as a manifest or a Procfile may name it; None for the programs of this host alone."""
    if build.runtime:
        return build.runtime.replace(" ", "")
    return f"python{build.python_version}" if build.python_version else None


def _with_note(last: AppStatus, passed: Path, build: "Staged | None") -> AppStatus:
    """Return the status of an app that serves with what to know of its answers."""
    from reconciler.inspection.answers import note_on_answers

    note = note_on_answers(passed, None if build is None else Path(build.code))
    return last if note is None else replace(last, reason=note.reason, message=note.text)


def _at_domain(snapshot: HostSnapshot, app: str, url: str | None) -> str | None:
    """Return the URL of the first domain of an app in place of that of its socket, which no client dials."""
    if url is None or not url.startswith("unix:"):
        return url
    own = (each for each in snapshot.domains if each["app"] == app and not each["leads_to"])
    first = next((each for each in own if not each["name"].startswith("*.")), None)
    return url if first is None else f"{first['url']}{first['below']}"


def _url_at(address: Address | None, url: str) -> str | None:
    """Return the URL of an address, with the scheme of another one of the same app; None without one."""
    if address is None:
        return None
    if address.path:
        return str(address)
    scheme, separator, _ = url.partition("://")
    return f"{scheme if separator else 'http'}://{address}/"


def _is_at(url: str, address: Address) -> bool:
    """Return whether a URL that was made of an address names this one."""
    if address.path or not url.startswith("http"):
        return url == str(address)
    host, _, port = url.partition("://")[2].rstrip("/").rpartition(":")
    return Address(host=host.strip("[]"), port=int(port)) == address


def _restarts(stored: str | None) -> int:
    try:
        return 0 if stored is None else int(json.loads(stored)["restarts"])
    except (KeyError, TypeError, ValueError):  # written by another version
        return 0


def _services(
    snapshot: HostSnapshot, desired: Mapping[str, Mapping[str, Any]], files: Sequence[Mapping[str, Any]]
) -> Iterator[ServiceRow]:
    """Yield a row for each service that is desired, left over from before, or refused and in effect in no version."""
    known = snapshot.records.service_statuses()
    recorded = snapshot.service_records.names() if snapshot.has_services else ()
    names = sorted({*desired, *known, *recorded})
    for name in names:
        yield _service(snapshot, name, desired.get(name, {}), known.get(name))
    for each in _refused(files):
        if each.kind == "service" and each.name not in names:
            yield ServiceRow(
                name=each.name, state="invalid", reason=each.reason, message=each.message, manifest=each.file
            )


def _service(snapshot: HostSnapshot, name: str, desired: Mapping[str, Any], last: ServiceStatus | None) -> ServiceRow:
    records = snapshot.service_records.of(name) if snapshot.has_services else ()
    record = max(records, key=lambda r: (r.type == desired.get("type"), r.left_at is None), default=None)
    row = ServiceRow(
        name=name,
        type=desired.get("type") or (record.type if record else None),
        plan=desired.get("plan") or (record.plan if record else None),
        label=desired.get("label"),
        server=record.server if record else desired.get("server"),
        apps=sorted({g.app for g in record.grants if g.credentials is not None}) if record else (),
        retain=desired.get("retain", record.retain if record else None),
        id=record.id if record else None,
        manifest=desired.get("manifest"),
    )
    if last is None:
        return row
    return row._replace(
        size=last.size,
        state=last.state,
        reason=last.reason,
        message=last.message,
        since=last.since,
        next_try_at=None if snapshot.daemon is None else last.next_try_at,
    )


class _Refused(NamedTuple):
    """An app or a service of a file that is refused, and why."""

    kind: str
    name: str
    file: str
    message: str
    reason: str


def _refused(files: Sequence[Mapping[str, Any]]) -> Collection[_Refused]:
    """Return each app and service of the files that are refused, once; an earlier version of it may be in effect."""
    found: dict[tuple[str, str], _Refused] = {}
    for entry in files:
        if entry["errors"]:
            from reconciler.planning.reason import Reason

            first = entry["errors"][0]
            message = ": ".join(filter(None, (f"line {first['line']}", first["path"], first["message"])))
            for kind, name in _subjects(entry):
                refused = _Refused(kind, name, str(entry["file"]), message, Reason.MANIFEST_REFUSED)
                found.setdefault((kind, name), refused)
    return found.values()


def _subjects(entry: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return the apps and services of a file, by kind and name; an app of the file's name, where it says none."""
    return entry.get("subjects") or [("app", Path(entry["file"]).stem)]


def _unwritable(state: Path) -> str:
    """Return why the records may be out of date, "" when they can be written."""
    facts = os.statvfs(state)
    if facts.f_flag & os.ST_RDONLY:
        return f"{state} is read-only: the apps keep running, but nothing is recorded"
    if facts.f_bavail * facts.f_frsize < _ROOM_TO_RECORD or (facts.f_files and not facts.f_favail):
        return f"the disk that holds {state} is full: the apps keep running, and events are recorded once it has space"
    return ""
