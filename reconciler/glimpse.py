"""What is true on this host as another process can see it: from the state directory and the process table, no effect.

The daemon need not run, and nothing here waits for it.
"""

from dataclasses import replace
from functools import cached_property
from importlib.metadata import version

from reconciler.desired import App, Json
from reconciler.journal import Journal
from reconciler.manifests import memory
from reconciler.observed import Instance, Observed, SourceLook
from reconciler.ownership import running
from reconciler.records import InstanceRecord, Records, Standing, open_database
from reconciler.serving.process import boot_id, start_ticks
from reconciler.settings import Layout
from reconciler.staging import staged
from reconciler.staging.staged import Staged


class Glimpse:
    """One look at a state directory that exists; raises sqlite3.Error when it has no database."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._database = open_database(layout.database, read_only=True)
        self.records = Records(self._database)
        self._boot = boot_id()

    @cached_property
    def daemon(self) -> int | None:
        """The pid of the daemon, None when none runs."""
        return running(self.layout)

    @cached_property
    def instances(self) -> dict[str, list[InstanceRecord]]:
        """The instances that are alive, by app."""
        found: dict[str, list[InstanceRecord]] = {}
        for record in self.records.instances():
            if record.boot == self._boot and record.pid is not None and start_ticks(record.pid) == record.ticks:
                found.setdefault(record.app, []).append(record)
        return found

    def staged(self, app: str, build: str) -> Staged | None:
        """A finished build, None when it is not there."""
        return staged.read(self.layout.builds(app) / build, self._boot)

    def observed(self, name: str, content: str | None, app: App | None) -> Observed:
        """One app as the daemon would see it, its source read as `content`."""
        alive = self.instances.get(name, [])
        held = {record.address for record in alive}
        if app is not None and self.daemon is not None and name in self.records.standings():
            held.add(app.address)
        builds = sorted(self.layout.builds(name).glob(f"*/{staged.RECORD}"), key=lambda r: r.stat().st_mtime_ns)
        return Observed(
            source=None if content is None or app is None else SourceLook(source=app.source, content=content),
            builds=tuple(record.parent.name for record in builds if not record.parent.name.startswith(".")),
            listeners=frozenset(held),
            instances=tuple(_instance(record) for record in alive),
            crashes=self.records.crashes(self._boot).get(name),
            traces=name in self.records.standings() or name in self.records.sources(),
        )

    def status(self, only: str | None = None) -> dict[str, Json]:
        """Everything `status --json` prints; with `only`, one app."""
        asked = memory.remembered_facts(self.records)
        files: list[Json] = asked.get("files", [])  # type: ignore[assignment]
        apps: dict[str, dict[str, Json]] = asked.get("apps", {})  # type: ignore[assignment]
        standings = self.records.standings()
        deaths = Journal(self._database).deaths()
        names = sorted({*standings, *apps, *self.instances})
        rows: list[Json] = [
            self._app(name, apps.get(name, {}), standings.get(name), deaths.get(name, 0)) for name in names
        ]
        rows += _refused(files, names)
        return {
            "daemon": {"running": self.daemon is not None, "pid": self.daemon, "version": version("reconciler")},
            "apps": [row for row in rows if only is None or (isinstance(row, dict) and row["name"] == only)],
            "services": [],
            "manifests": [{"file": f["file"], "errors": f["errors"]} for f in files if isinstance(f, dict)],
            "notice": asked.get("notice"),
        }

    def _app(self, name: str, asked: dict[str, Json], standing: Standing | None, deaths: int) -> dict[str, Json]:
        serving = [record for record in self.instances.get(name, []) if record.ready]
        newest = serving[-1] if serving else None
        build = self.staged(name, newest.build) if newest else None
        stands = standing or Standing(state="pending", message="not looked at yet", wanted=None, since=0, next_try_at=None)
        if self.daemon is None and asked:
            stands = _without_daemon(stands, alive=newest is not None)
        return {
            "name": name,
            "state": stands.state,
            "message": stands.message,
            "url": asked.get("url"),
            "port": asked.get("port"),
            "revision": newest.revision if newest else None,
            "wanted_revision": stands.wanted,
            "runtime": f"python{build.python_version}" if build else asked.get("runtime"),
            "pid": newest.pid if newest else None,
            "workers": newest.workers if newest else 0,
            "restarts": deaths,
            "since": stands.since or None,
            "next_try_at": stands.next_try_at,
            "services": [],
            "manifest": asked.get("manifest"),
        }


def _without_daemon(standing: Standing, *, alive: bool) -> Standing:
    """What was last told may have changed since nobody watches: what serves serves, and nothing is retried."""
    if standing.state == "running" and not alive:
        return replace(standing, state="failing", message="nothing of it runs, and no daemon is there to start it")
    if standing.next_try_at is not None:
        message = f"{standing.message}; no daemon is there to try again"
        return replace(standing, message=message, next_try_at=None)
    return standing


def _instance(record: InstanceRecord) -> Instance:
    return Instance(
        id=record.id,
        revision=record.revision,
        build=record.build,
        address=record.address,
        pid=record.pid or 0,
        started_at=record.started_at,
        ready=record.ready,
        stopping_since=record.stopping_since,
    )


def _refused(files: list[Json], known: list[str]) -> list[Json]:
    """A row for each file that is refused and has nothing in force."""
    rows: list[Json] = []
    for entry in files:
        if not isinstance(entry, dict) or not entry["errors"] or entry["apps"]:
            continue
        file = str(entry["file"])
        name = file.rpartition("/")[2].rpartition(".")[0]
        if name in known:
            continue
        errors = entry["errors"]
        first = errors[0] if isinstance(errors, list) else None
        told = f"line {first['line']}: {first['path']}: {first['message']}" if isinstance(first, dict) else ""
        rows.append({
            "name": name, "state": "invalid", "message": told.replace(": : ", ": "), "url": None, "port": None,
            "revision": None, "wanted_revision": None, "runtime": None, "pid": None, "workers": 0, "restarts": 0,
            "since": None, "next_try_at": None, "services": [], "manifest": file,
        })  # fmt: skip
    return rows


