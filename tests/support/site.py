"""A host of a test's own: manifests and apps it writes, a state directory, a daemon it starts, kills and asks.

However a test ends, nothing that was started here is left running.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import yaml

from reconciler.host.network_kernel import remove_rules
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.inspection.status import status
from reconciler.isolation.app_users import app_users
from reconciler.isolation.cells import Cells
from reconciler.linux.process_identity import boot_id, start_ticks
from reconciler.planning.apps.revision import Revision
from reconciler.planning.subject import Subject
from reconciler.routing.kept_caddy import dismiss as dismiss_proxy
from reconciler.serving.keeper import dismiss
from reconciler.serving.marks import NO_APPS, marked
from reconciler.state.paths import StatePaths
from reconciler.state.records import InstanceRecord, Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from tests.support.commands import command, run
from tests.support.eventually import eventually
from tests.support.life import Cues, live
from tests.support.ports import a_port
from tests.support.store import Store

REPOSITORY = Path(__file__).parents[2]

# Says which version it is, what its environment holds, or dawdles: /, /env, /slow?SECONDS.
WSGI = """\
import json, os, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/env":
        return [json.dumps(dict(os.environ)).encode()]
    if environ["PATH_INFO"] == "/slow":
        time.sleep(float(environ["QUERY_STRING"]))
    return [b"{version}"]
"""

get_context("forkserver").set_forkserver_preload(["tests.support.preloaded"])


class Forked(ForkServerProcess):
    """A process forked from one that has everything loaded; a daemon of it is asked as one that was executed is."""

    @property
    def pid(self) -> int:
        return super().pid or 0  # before it is started

    @property
    def returncode(self) -> int | None:
        return self.exitcode

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.join(timeout)
        if timeout is not None and self.is_alive():
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self.exitcode

    def send_signal(self, number: int) -> None:
        if self.is_alive():
            os.kill(self.pid, number)


Daemon: TypeAlias = "subprocess.Popen[Any] | Forked"


@dataclass(slots=True, kw_only=True)
class Site:
    """Everything below `root`: `manifests`, `apps`, `state`, and what the daemons printed."""

    root: Path
    daemons: list[Daemon] = field(default_factory=list)

    @classmethod
    def at(cls, root: Path, store: Store) -> "Site":
        site = cls(root=root)
        site.manifests.mkdir(parents=True)
        (root / "apps").mkdir()
        store.hand_over(site.state)
        return site

    @property
    def manifests(self) -> Path:
        return self.root / "manifests"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def paths(self) -> StatePaths:
        return StatePaths(state=self.state)

    @property
    def console(self) -> Path:
        """What daemons started from the command line printed."""
        return self.root / "console"

    # What a user writes

    def source(self, name: str, version: str = "1", **files: str) -> Path:
        """Write an app's source that answers `version`; `files` are others, by stem, as Python."""
        directory = self.root / "apps" / name
        directory.mkdir(exist_ok=True)
        self.save(directory / "wsgi.py", WSGI.replace("{version}", version))
        for stem, text in files.items():
            self.save(directory / f"{stem}.py", text)
        return directory

    def manifest(self, name: str, **fields: Any) -> Path:
        """Write a manifest of an app whole; its path is the source of that name unless given."""
        file = self.manifests / f"{name}.yaml"
        self.save(file, yaml.safe_dump({"path": f"../apps/{name}", **fields}))
        return file

    def app(self, name: str, version: str = "1", **fields: Any) -> int:
        """Write both; returns the app's port."""
        port = int(fields.setdefault("port", a_port()))
        self.source(name, version)
        self.manifest(name, **fields)
        return port

    def save(self, file: Path, text: str | bytes) -> None:
        """Replace a file at once, as good editors do."""
        draft = self.root / f".draft-{file.name}"
        draft.write_bytes(text if isinstance(text, bytes) else text.encode())
        draft.replace(file)

    # The daemon

    def start(self, *options: str) -> Forked:
        """Start the daemon by the words a user would, at once: forked from a process that has everything loaded."""
        words = self.command("run", *options)[3:]
        daemon = Forked(target=run, args=(words, REPOSITORY, dict(os.environ), self.console), daemon=True)
        daemon.start()
        self.daemons.append(daemon)
        return daemon

    def execute(self, *options: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start the daemon as a user does, in a Python of its own: for what its environment or its imports change."""
        with self.console.open("a") as console:
            daemon = subprocess.Popen(
                self.command("run", *options),
                stdout=console, stderr=console, stdin=subprocess.DEVNULL, text=True,
                cwd=REPOSITORY, env={**os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip
        self.daemons.append(daemon)
        return daemon

    def live(self, cues: Cues | None = None, **settings: Any) -> Forked:
        """Start the daemon in the same way with other settings than the host's, or with a death on cue."""
        daemon = Forked(
            target=live,
            args=(str(self.manifests), str(self.state), settings, str(self.console), cues or Cues()),
            daemon=True,
        )
        daemon.start()
        self.daemons.append(daemon)
        return daemon

    def end(self, daemon: Daemon, number: int = signal.SIGTERM) -> None:
        """Signal a daemon and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, number)
        daemon.wait(60)

    def command(self, *words: str) -> list[str]:
        """The command line of `reconciler`, with --state and where it is known --manifests."""
        is_needed = words[0] in {"run", "apply", "plan", "validate"} and "--manifests" not in words
        manifests = ["--manifests", str(self.manifests)] if is_needed else []
        state = [] if words[0] == "validate" else ["--state", str(self.state)]
        return [sys.executable, "-m", "reconciler", *words, *manifests, *state]

    def cli(
        self, *words: str, timeout_s: float = 120.0, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; in a Python of its own if it is given variables besides the test's own."""
        line = self.command(*words)
        if env:
            return subprocess.run(
                line, capture_output=True, text=True, cwd=REPOSITORY, timeout=timeout_s, check=False,
                env={**os.environ, **env},
            )  # fmt: skip
        with TemporaryDirectory() as place:
            output, errors = Path(place, "output"), Path(place, "errors")
            process = Forked(target=command, args=(line[3:], REPOSITORY, dict(os.environ), output, errors))
            process.start()
            process.join(timeout_s)
            if process.is_alive():
                process.kill()
                raise subprocess.TimeoutExpired(line, timeout_s)
            said = [file.read_text() if file.exists() else "" for file in (output, errors)]
            return subprocess.CompletedProcess(line, process.exitcode or 0, *said)

    # What is true

    def status(self) -> dict[str, Any]:
        """What `status --json` prints."""
        snapshot = HostSnapshot(self.paths)
        try:
            return status(snapshot).facts()
        finally:
            snapshot.close()

    def told(self, name: str) -> dict[str, Any]:
        """One app's line of it."""
        rows: list[dict[str, Any]] = [row for row in self.status()["apps"] if row["name"] == name]
        assert rows, f"no app {name} in status"
        return rows[0]

    def refusals(self, file: str) -> list[str]:
        """What is wrong with a manifest, by its file's name."""
        return [
            error["message"]
            for entry in self.status()["manifests"]
            if Path(entry["file"]).name == file
            for error in entry["errors"]
        ]

    def instances(self, name: str | None = None) -> list[InstanceRecord]:
        """The instances that are alive."""
        snapshot = HostSnapshot(self.paths)
        try:
            alive = snapshot.instances
        finally:
            snapshot.close()
        return [record for app, records in alive.items() for record in records if name in (None, app)]

    def pid(self, name: str) -> int:
        """The one gunicorn master of an app."""
        alive = [record.pid for record in self.instances(name)]
        assert len(alive) == 1, f"{name} has the masters {alive}"
        return alive[0] or 0

    def pids(self) -> dict[str, int]:
        """Every app's master; fails while one of them has two."""
        pids = {record.app: record.pid or 0 for record in self.instances()}
        assert len(pids) == len(self.instances())
        return pids

    def marked(self, apps: Mapping[int, str] = NO_APPS) -> set[int]:
        """Every process that carries this state directory's mark, and is its owner's or one of the `apps` by user."""
        state = self.state_id()
        return {process.pid for process in marked(state, self.state.stat().st_uid, apps=apps)} if state else set()

    def state_id(self) -> str | None:
        place = self.paths.state / "id"
        return place.read_text().strip() if place.exists() else None

    def events(self, app: str | None = None) -> list[tuple[str, str, str]]:
        """The journal: subject (`blog`, `service db`, empty for the host), kind, text."""
        with contextlib.closing(open_database(self.paths.database, read_only=True)) as database:
            rows = database.execute("SELECT subject, name, kind, text FROM event ORDER BY id").fetchall()
        told = [("" if kind == "host" else str(Subject(kind, name)), *event) for kind, name, *event in rows]
        return [row for row in told if app in (None, row[0])]

    def fact(self, name: str) -> str | None:
        """A value that outlives the daemon, as it is on record."""
        with contextlib.closing(open_database(self.paths.database, read_only=True)) as database:
            return Records(database).fact(name)

    def known_good(self, name: str) -> tuple[Revision, ...]:
        """The revisions of an app that got through their probation."""
        with contextlib.closing(open_database(self.paths.database, read_only=True)) as database:
            return RevisionHistory(Records(database), boot_id()).of(name).known_good

    def settled(self, *names: str) -> bool:
        """True when each app is as asked, with exactly one instance: that of the wanted revision."""
        told_of = {row["name"]: row for row in self.status()["apps"]}
        instances = self.instances()
        for name in names:
            assert name in told_of, f"no app {name} in status"
            told = told_of[name]
            alive = [(record.revision, record.ready_at is not None) for record in instances if record.app == name]
            assert told["state"] == "running", f"{name} is {told['state']}: {told['message']}"
            assert alive == [(told["wanted_revision"], True)], f"{name} has {alive}, wants {told['wanted_revision']}"
        return True

    def serves(self, name: str, version: str, port: int) -> Callable[[], bool]:
        """A check that an app has settled on a version."""
        return lambda: get(port) == version and self.settled(name)

    def await_settled(self, *names: str, within: float = 120.0) -> None:
        """Wait until the daemon has made an instance of every app and has nothing left to do."""
        eventually(lambda: self.settled(*names), within)

    def await_successor(self, name: str, before: int) -> None:
        """Wait until another master than the one before is all there is of the app."""
        eventually(lambda: self.pid(name) != before and self.settled(name))

    # The end

    def close(self) -> None:
        """End everything that was started here, by pid."""
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait(60)
        dismiss(self.paths.keeper)
        dismiss_proxy(self.paths.proxy)
        for folder in [self.manifests, *self.root.glob("apps/*")]:
            with contextlib.suppress(OSError):
                folder.chmod(0o755)

        def gone() -> bool:
            left = self.marked(app_users(self.paths))
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        eventually(gone)
        if state := self.state_id():
            for cell in Cells(state).left_over(()):
                cell.end()
            remove_rules(self.paths)

    def explain(self) -> str:
        """Plan, status, journal and logs, for whoever reads a failed test."""
        told = []
        if self.paths.database.exists():
            plan = self.cli("plan")
            told += ["-- plan", plan.stdout + plan.stderr, "-- status", json.dumps(self.status(), indent=1)]
            told += ["-- journal", *(f"{a or '-':<12} {kind:<9} {text}" for a, kind, text in self.events()[-80:])]
        for log in [self.console, *sorted(self.state.glob("logs/*/*.log"))]:
            if log.exists():
                told += [f"-- {log}", *log.read_text(errors="replace").splitlines()[-40:]]
        return "\n".join(told)


def get(port: int, path: str = "/", within: float = 30.0) -> str:
    """The body of a 200 answer; OSError or AssertionError otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    assert answer.status == 200, f"{answer.status}: {body[:200]}"
    return body


def is_refused(port: int) -> bool:
    """True when nobody listens there; a socket that was just closed resets those who came before."""
    try:
        socket.create_connection(("127.0.0.1", port), 60).close()
    except ConnectionRefusedError:
        return True
    return False


def is_busy(port: int) -> bool:
    """True when a connection to the port was accepted by a process."""
    local = f"0100007F:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[1] == local and line[3] == "01" and line[9] != "0" for line in lines)


def is_gone(pid: int) -> bool:
    """True when no process of that pid runs any more."""
    return start_ticks(pid) is None
