"""The apps of a soak as they are asked to be, and what can be done to one of them.

Every answer of an app says which version, which edit and which binding it is of, so that a request can tell whether
what was asked for last has come true.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reconciler.control.requests import Refused
from reconciler.control.socket import ask
from tests.soak.requests import Requests
from tests.support.eventually import eventually
from tests.support.site import Site

STORE = "store"
THE_DAEMON = "the daemon"

_WSGI = """\
import json, os, sqlite3

{trouble}
services = json.loads(os.environ.get("VCAP_SERVICES", "{{}}"))
bound = [each["credentials"]["path"] for kind in services.values() for each in kind]
for path in bound:
    with sqlite3.connect(path, timeout=30) as database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (version)")
BODY = "{version} %s %s" % (os.environ["EDIT"], "bound" if bound else "alone")

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [BODY.encode()]
"""
_BROKEN_MANIFESTS = ("path: [", "pth: ../apps/x\n", "path: x\npath: y\n", "path: ../apps/x\nworkers: many\n", "\0")


@dataclass(slots=True, kw_only=True)
class Wanted:
    """One app as it is asked to be. `broken` is what of it was spoilt, `shut` how its port was closed; else ""."""

    name: str
    port: int
    sleeps: bool
    version: int = 1
    edit: int = 1
    workers: int = 1
    bound: bool = False
    broken: str = ""
    shut: str = ""

    @property
    def body(self) -> str:
        return f"{self.version} {self.edit} {'bound' if self.bound else 'alone'}"


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The apps, the daemon that keeps them, and the deeds, each counted by its name."""

    site: Site
    chance: random.Random
    apps: dict[str, Wanted]
    requests: Requests
    deeds: Counter[str] = field(default_factory=Counter)
    told: list[tuple[float, str, str]] = field(default_factory=list)
    daemon: "subprocess.Popen[str] | None" = None

    def begin(self) -> None:
        """Write everything and start the daemon."""
        (self.site.manifests / f"{STORE}.yaml").write_text(f"kind: service\nname: {STORE}\ntype: sqlite\n")
        for app in self.apps.values():
            self._source(app)
            self._manifest(app)
        self.daemon = self.site.execute()

    def do_something(self, *, to_the_daemon: bool) -> None:
        """The next deed, by chance: to an app that was spoilt or shut, mostly its mending."""
        app = self.apps[self.chance.choice(sorted(self.apps))]
        if to_the_daemon and self.chance.random() < 1 / 40:
            self._tell(THE_DAEMON, "kill the daemon")
            self._kill_daemon()
        elif app.broken or app.shut:
            self.mend(app)
        else:
            name = self.chance.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0]
            self._tell(app.name, name)
            getattr(self, name.replace(" ", "_"))(app)

    def mend(self, app: Wanted) -> None:
        """Make an app good again, whatever was done to it."""
        self._tell(app.name, deed := f"fix {app.broken}" if app.broken else f"bring back ({app.shut})")
        broken, shut, app.broken, app.shut = app.broken, app.shut, "", ""
        app.version += broken == "source"
        app.edit += bool(shut)
        if broken == "source":
            self._source(app)
        if shut == "stopped by command":
            self._ask_daemon("start", app)
        if broken != "source":
            self._manifest(app)
        self.requests.expect(app.name, app.body, deed)

    def mend_all(self) -> None:
        for app in self.apps.values():
            if app.broken or app.shut:
                self.mend(app)

    # Edits that are good

    def deploy(self, app: Wanted) -> None:
        app.version += 1
        self._source(app)
        self.requests.expect(app.name, app.body, "deploy")

    def configure(self, app: Wanted) -> None:
        app.edit += 1
        app.workers = self.chance.choice((1, 1, 2))
        self._manifest(app)
        self.requests.expect(app.name, app.body, "configure")

    def bind(self, app: Wanted) -> None:
        app.edit += 1
        app.bound = not app.bound
        self._manifest(app)
        self.requests.expect(app.name, app.body, "bind")

    def edit_both(self, app: Wanted) -> None:
        app.version += 1
        app.edit += 1
        if self.chance.random() < 0.5:
            self._source(app)
            self._manifest(app)
        else:
            self._manifest(app)
            self._source(app)
        self.requests.expect(app.name, app.body, "edit both")

    # Edits that are bad: what serves goes on

    def spoil_source(self, app: Wanted) -> None:
        app.broken = "source"
        self.requests.expect_nothing(app.name)
        self._source(app, self.chance.choice(("raise RuntimeError('spoilt')", "import not_there", "def (")))

    def spoil_manifest(self, app: Wanted) -> None:
        app.broken = "manifest"
        self.site.save(self.site.manifests / f"{app.name}.yaml", self.chance.choice(_BROKEN_MANIFESTS))

    def spoil_release(self, app: Wanted) -> None:
        app.broken = "release"
        self.requests.expect_nothing(app.name)
        app.edit += 1
        self._manifest(app, release="python -c 'raise SystemExit(3)'")

    # Shut on purpose

    def stop_by_manifest(self, app: Wanted) -> None:
        app.shut = "stopped by manifest"
        self.requests.closing(app.name)
        self._manifest(app, state="stopped")

    def stop_by_command(self, app: Wanted) -> None:
        app.shut = "stopped by command"
        self.requests.closing(app.name)
        self._ask_daemon("stop", app)

    def remove(self, app: Wanted) -> None:
        app.shut = "removed"
        self.requests.closing(app.name)
        (self.site.manifests / f"{app.name}.yaml").unlink()

    # Crashes, and a restart

    def restart(self, app: Wanted) -> None:
        self._ask_daemon("restart", app)

    def kill_master(self, app: Wanted) -> None:
        self._kill(app, "master")

    def kill_worker(self, app: Wanted) -> None:
        self._kill(app, "worker")

    def _kill(self, app: Wanted, what: str) -> None:
        masters = [record.pid for record in self.site.instances(app.name) if record.pid]
        victims = masters if what == "master" else [child for pid in masters for child in _children(pid)]
        if victims:
            self.requests.killed(app.name, what)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(victims), signal.SIGKILL)

    def _kill_daemon(self) -> None:
        """And start another at once, as an init system would."""
        assert self.daemon is not None
        self.site.end(self.daemon, signal.SIGKILL)
        self.site.daemons.remove(self.daemon)
        self.daemon = self.site.execute()

    # Writing and asking

    def _source(self, app: Wanted, trouble: str = "") -> None:
        directory = self.site.root / "apps" / app.name
        directory.mkdir(exist_ok=True)
        self.site.save(directory / "wsgi.py", _WSGI.format(version=app.version, trouble=trouble))

    def _manifest(self, app: Wanted, **more: str) -> None:
        self.site.manifest(
            app.name,
            port=app.port,
            workers=app.workers,
            env={"EDIT": str(app.edit)},
            probation="2s",
            crash={"first": "100ms", "cap": "1s", "good_run": "5s"},
            **({"services": [STORE]} if app.bound else {}),
            **({"idle_after": "4s"} if app.sleeps else {"health": {"path": "/", "interval": "10s", "timeout": "8s"}}),
            **more,
        )

    def _ask_daemon(self, do: str, app: Wanted) -> None:
        """Ask as often as it takes: it may just be starting, and not know the app yet."""
        eventually(partial(self._asked, do, app), 60)

    def _asked(self, do: str, app: Wanted) -> bool:
        try:
            ask(self.site.paths.control, {"do": do, "app": app.name})
        except (OSError, Refused) as error:
            raise AssertionError(f"cannot {do} {app.name}: {error}") from error
        return True

    def _tell(self, app: str, deed: str) -> None:
        self.deeds[deed] += 1
        self.told.append((time.monotonic(), app, deed))


_WEIGHTS = {
    "deploy": 8, "configure": 6, "bind": 3, "edit both": 3, "spoil source": 3, "spoil manifest": 3, "spoil release": 1,
    "stop by manifest": 1, "stop by command": 1, "remove": 1, "restart": 2, "kill master": 4, "kill worker": 4,
}  # fmt: skip


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
