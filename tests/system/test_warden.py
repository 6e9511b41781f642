"""A daemon that is not root beside the warden, the one process of root: isolated apps have users of their own."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.isolation.user_claims import VARIABLE as USERS_VARIABLE
from reconciler.isolation.warden import VARIABLE
from reconciler.linux import nftables
from reconciler.linux.filter_table import Table
from tests.contract.test_launch import EXTRA_MODULES, LOOK
from tests.contract.test_network_rules import LACKS as NO_RULES
from tests.support.eventually import eventually
from tests.support.hosts import explained
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS, SHARED_NOTES
from tests.support.site import REPOSITORY, Site, get, is_gone
from tests.system.test_network_of_builds import building, tries

PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"

pytestmark = [
    pytest.mark.system,
    pytest.mark.nightly,
    pytest.mark.network,  # root's own Pythons and their packages are out of reach: an environment is made
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user, and be a warden"),
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}, which every user may run"),
    pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}"),
]

_USER = 57_000 + os.getpid() % 3000
_BECOME = ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups")
_NOTHING = ("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")
_FIRST, _LAST = 70_000, 79_999
_STAGED_S = 240  # each daemon here makes its first environment, from an index, as busy as the host may be


class Warden:
    """A warden, as a process of root."""

    def __init__(self, place: Path) -> None:
        self.socket = place / "socket"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        words = (sys.executable, "-m", "reconciler", "warden", "--user", str(_USER), "--socket", str(self.socket))
        self.process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("gives")

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.communicate(timeout=60)
            self.process = None


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that belongs to that user, below a directory that every user may enter; no other daemon has its users."""
    root = Path(tempfile.mkdtemp(prefix="reconciler-"))
    monkeypatch.setenv(USERS_VARIABLE, str(root / "users"))
    site = Site(root=root)
    root.chmod(0o755)
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", root / "venv"], check=True)
    (packages,) = (root / "venv/lib").glob("python*/site-packages")
    (packages / "ours.pth").write_text(f"{REPOSITORY}\n{sysconfig.get_path('purelib')}\n")
    for directory in (site.manifests, root / "apps", site.state):
        directory.mkdir(exist_ok=True)
        os.chown(directory, _USER, _USER)
    try:
        yield from explained(site, request)
    finally:
        shutil.rmtree(root)


@pytest.fixture
def warden(site: Site) -> Iterator[Warden]:
    found = Warden(site.root)
    try:
        yield found
    finally:
        found.end(signal.SIGKILL)


def start(site: Site, warden: Warden) -> "subprocess.Popen[str]":
    """The daemon of a user who has no group, no capability, and no way to get any but the warden's."""
    given = {"PATH": "/usr/bin:/bin", "HOME": str(site.root), VARIABLE: str(warden.socket)}
    with site.console.open("a") as console:
        daemon = subprocess.Popen(
            [*_BECOME, *_NOTHING, site.root / "venv/bin/python", "-m", "reconciler", *site.command("run")[3:]],
            stdout=console, stderr=console, stdin=subprocess.DEVNULL, text=True,
            cwd=site.root, env={**os.environ, **given}, start_new_session=True,
        )  # fmt: skip
    site.daemons.append(daemon)
    return daemon


def run_as_daemon(site: Site, warden: Warden, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as the daemon's user, outside of its namespace, as an operator does."""
    given = {"PATH": "/usr/bin:/bin", "HOME": str(site.root), VARIABLE: str(warden.socket)}
    place = ("--state", str(site.state), *(("--manifests", str(site.manifests)) if words[0] == "doctor" else ()))
    return subprocess.run(
        [*_BECOME, *_NOTHING, site.root / "venv/bin/python", "-m", "reconciler", words[0], *place, *words[1:]],
        capture_output=True, text=True, cwd=site.root, env={**os.environ, **given}, check=False, timeout=60,
    )  # fmt: skip


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_an_app_of_a_daemon_that_is_not_root_has_a_user_of_its_own_whoever_is_killed(
    site: Site, warden: Warden
) -> None:
    warden.start()
    port, other = site.app("shop", isolation="strict"), site.app("blog", isolation="strict")
    plain = site.app("plain")
    daemon = start(site, warden)
    eventually(site.serves("shop", "1", port), _STAGED_S)
    eventually(site.serves("blog", "1", other), _STAGED_S)
    eventually(site.serves("plain", "1", plain), _STAGED_S)
    before = site.pid("shop")
    users = {user_of(site.pid(app)) for app in ("shop", "blog")}
    assert len(users) == 2
    assert all(_FIRST <= user <= _LAST for user in users)
    assert user_of(daemon.pid) == user_of(site.pid("plain")) == _USER
    assert site.paths.home("shop").stat().st_uid == user_of(before)
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shop"]
    assert "isolation lacks" not in row["message"]
    warden.end(signal.SIGKILL)  # nothing depends on it
    with under_load(port) as load:
        site.end(daemon, signal.SIGKILL)
        load.await_more(20)
        daemon = start(site, warden)
        eventually(lambda: ("shop", "adopted", f"gunicorn {before} keeps serving") in site.events(), 20)
        site.await_settled("shop", "blog")
        load.await_more(20)
    assert load.failed == {}
    assert site.pid("shop") == before
    site.source("shop", "2")
    eventually(site.serves("shop", "2", port), _STAGED_S)
    assert user_of(site.pid("shop")) in users
    assert is_gone(before)
    killed = site.pid("shop")
    os.kill(killed, signal.SIGKILL)
    site.await_successor("shop", killed)
    assert user_of(site.pid("shop")) in users
    shown = run_as_daemon(site, warden, "shell", "shop", "--", "id", "-u")
    assert int(shown.stdout) in users, shown.stderr
    checked = run_as_daemon(site, warden, "doctor").stdout
    assert f"isolated apps get users of their own from the warden, {_FIRST} to {_LAST}" in checked
    pids = [site.pid(app) for app in ("shop", "blog", "plain")]
    down = run_as_daemon(site, warden, "down")
    assert down.returncode == 1, "without its warden the kernel keeps the rules"
    assert "the kernel keeps the rules for network.connect" in down.stderr
    assert all(map(is_gone, pids))
    warden.start()
    down = run_as_daemon(site, warden, "down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert f"reconciler-{_USER}-{site.state_id()}" not in nftables.tables()


_TAKES = """
import ctypes
taken = 0
while ctypes.CDLL(None).inotify_init1(0) >= 0:
    taken += 1

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(taken).encode()]
"""


def test_isolated_apps_that_take_all_watchers_of_files_leave_the_daemons_user_some(site: Site, warden: Warden) -> None:
    warden.start()
    ports = [a_port() for _ in range(4)]
    for port in ports:
        (site.root / f"apps/app{port}").mkdir()
        site.save(site.root / f"apps/app{port}/wsgi.py", _TAKES)
        site.manifest(f"app{port}", port=port, isolation="strict")
    daemon = start(site, warden)
    for port in ports:
        eventually(partial(get, port), _STAGED_S)
    for _ in range(2):  # some are executed, the others forked
        for port in ports:
            site.await_settled(f"app{port}")
            os.kill(pid := site.pid(f"app{port}"), signal.SIGKILL)
            site.await_successor(f"app{port}", pid)
        most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
        assert sum(int(get(port)) for port in ports) <= most * 3 // 4
        namespaces = {Path(f"/proc/{site.pid(f'app{port}')}/ns/user").stat().st_ino for port in ports}
        assert Path(f"/proc/{daemon.pid}/ns/user").stat().st_ino not in namespaces
        takes = f"import ctypes\n{_TAKES.partition('def')[0]}print(taken)"
        command = [*_BECOME, *_NOTHING, str(site.root / "venv/bin/python"), "-c", takes]
        assert int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) > most // 8
        site.end(daemon, signal.SIGKILL)
        daemon = start(site, warden)
        site.await_settled(*(f"app{port}" for port in ports))


def test_an_isolated_app_beside_a_warden_is_forked_and_cannot_tell(site: Site, warden: Warden) -> None:
    warden.start()
    port = a_port()
    (site.root / "apps/shop").mkdir()
    site.save(site.root / "apps/shop/wsgi.py", LOOK)
    site.manifest("shop", port=port, isolation="strict")
    start(site, warden)
    eventually(lambda: json.loads(get(port)), _STAGED_S)
    site.await_settled("shop")
    seen, proofs = list[dict[str, Any]](), list[Any]()
    for way in (" by exec, because its fork server is still starting", " from a fork server"):
        pid = site.pid("shop")
        for _ in range(5):  # its fork server is not ready at once on a busy host
            if ("shop", "started", f"gunicorn {pid}{way}") not in site.events("shop"):
                os.kill(pid, signal.SIGKILL)
                site.await_successor("shop", pid)
                pid = site.pid("shop")
        assert ("shop", "started", f"gunicorn {pid}{way}") in site.events("shop")
        seen.append(json.loads(get(port)))
        (told,) = json.loads(run_as_daemon(site, warden, "isolation", "shop", "--json").stdout)["instances"]
        proofs.append({name: what for name, what in told.items() if name not in ("id", "pid")})
        assert _FIRST <= user_of(pid) <= _LAST
        os.kill(pid, signal.SIGKILL)
        site.await_successor("shop", pid)
    assert proofs[0] == proofs[1]
    executed, forked = ({name: _anyone(what) for name, what in each.items()} for each in seen)
    modules = set(forked.pop("modules")), set(executed.pop("modules"))
    assert forked == executed
    assert modules[0] - EXTRA_MODULES == modules[1]
    assert run_as_daemon(site, warden, "down").returncode == 0


_OF_ONE = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(/\d+)?(?![0-9a-f])|\d\d:\d\d:[\d.]+|\d{10}|\d+\.\d+")


def _anyone(what: Any) -> Any:
    """Return what an instance saw without what is its own: its id, its pid behind that, and when it was started."""
    return _OF_ONE.sub("ITS OWN", json.dumps(what))


def test_without_a_warden_apps_have_the_daemons_user_and_are_told_why(site: Site, warden: Warden) -> None:
    port = site.app("shop", isolation="strict")
    start(site, warden)
    eventually(site.serves("shop", "1", port), _STAGED_S)
    assert user_of(site.pid("shop")) == _USER
    site.await_settled("shop")
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shop"]
    assert f"the daemon is not root, and no warden answers at {warden.socket}" in row["message"]
    run_as_daemon(site, warden, "down")


# Answers how it went to connect to each port of this host that the query names.
_CLIENT = """
import json, socket

def attempt(port):
    try:
        socket.create_connection(("127.0.0.1", port), 60).close()
    except OSError as error:
        return type(error).__name__
    return "through"

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [json.dumps([attempt(int(each)) for each in environ["QUERY_STRING"].split(",")]).encode()]
"""


@pytest.mark.skipif(bool(NO_RULES), reason=f"no rules of the kernel here: {NO_RULES}")
def test_an_app_of_a_daemon_that_is_not_root_is_held_to_where_it_may_connect_whoever_is_killed(
    site: Site, warden: Warden
) -> None:
    warden.start()
    other = site.app("blog", isolation="strict")
    ports = {"shop": a_port(), "client": a_port()}
    for name, fields in (("shop", {}), ("client", {"network": {"connect": [f"127.0.0.1:{other}"]}})):
        (site.root / f"apps/{name}").mkdir()
        site.save(site.root / f"apps/{name}/wsgi.py", _CLIENT)
        site.manifest(name, port=ports[name], isolation="strict", **fields)
    daemon = start(site, warden)

    def tried(name: str) -> list[str]:
        found: list[str] = json.loads(get(ports[name], f"/?{other},{plain},{ports['shop']},{ports['client']}"))
        return found

    refused = "ConnectionRefusedError"
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        plain = server.getsockname()[1]
        expected = {"shop": [refused, "through", "through", refused], "client": ["through", refused, refused, refused]}
        eventually(lambda: {name: tried(name) for name in ports} == expected, _STAGED_S)
        site.await_settled("blog", *ports)
        for row in site.status()["apps"]:
            assert "isolation lacks" not in row["message"]
        assert "rules of the kernel hold 1 app to them" in run_as_daemon(site, warden, "doctor").stdout
        warden.end(signal.SIGKILL)
        assert {name: tried(name) for name in ports} == expected
        site.end(daemon, signal.SIGKILL)
        assert {name: tried(name) for name in ports} == expected
        warden.start()
        start(site, warden)
        site.await_settled("blog", *ports)
        site.manifest("client", port=ports["client"], isolation="strict", network={"connect": [plain]})
        expected["client"] = [refused, "through", refused, refused]
        eventually(lambda: {name: tried(name) for name in ports} == expected, 60)
        name = f"reconciler-{_USER}-{site.state_id()}"
        assert name in nftables.tables()
        with suppress(PermissionError):  # of a table that has an owner
            nftables.replace(name, Table(), "")
        eventually(lambda: {name: tried(name) for name in ports} == expected, 60)
        warden.end(signal.SIGKILL)
        nftables.OwnedTables().replace(name, Table(), "")
        warden.start()
        eventually(lambda: {name: tried(name) for name in ports} == expected, 60)
    down = run_as_daemon(site, warden, "down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert name not in nftables.tables()


_NOTED = "id -u > $HOME/{}"


def await_note(file: Path, user: int) -> None:
    """Wait until that user has written its number there."""
    eventually(lambda: file.exists() and file.read_text() == f"{user}\n", 60)
    assert file.stat().st_uid == user


def test_all_that_runs_of_an_app_has_the_user_that_the_warden_gave_it(site: Site, warden: Warden) -> None:
    warden.start()
    site.save(site.manifests / "notes.yaml", "kind: service\nname: notes\ntype: sqlite\n")
    ports = {"shop": a_port(), "blog": a_port()}
    for name, port in ports.items():
        directory = site.root / f"apps/{name}"
        directory.mkdir()
        site.save(directory / "wsgi.py", SHARED_NOTES)
        site.manifest(
            name, port=port, isolation="strict", services=["notes"], release=_NOTED.format("release"),
            processes={"worker": {"command": ["sh", "-c", f"{_NOTED.format('worker')}; exec sleep 600"]}},
            schedules={"tick": {"command": ["sh", "-c", _NOTED.format("tick")], "at": "0 0 1 1 *"}},
        )  # fmt: skip
    daemon = start(site, warden)
    eventually(lambda: [json.loads(get(port)) for port in ports.values()], _STAGED_S)
    told = [json.loads(get(port)) for port in ports.values()]
    users = {name: facts["uid"] for name, facts in zip(ports, told, strict=True)}
    assert told[-1]["seen"] == sorted(users.values())
    assert len(set(users.values())) == 2
    assert all(_FIRST <= user <= _LAST for user in users.values())
    for name, user in users.items():
        triggered = run_as_daemon(site, warden, "trigger", name, "tick")
        assert triggered.returncode == 0, triggered.stdout + triggered.stderr
        task = run_as_daemon(site, warden, "task", name, "--", "id", "-u")
        assert task.stdout.split()[-1:] == [str(user)], task.stdout + task.stderr
        for what in ("release", "worker", "tick"):
            await_note(site.paths.home(name) / what, user)
    kept = site.root / "state/kept.db"
    backed_up = run_as_daemon(site, warden, "backup", "notes", str(kept))
    assert backed_up.returncode == 0, backed_up.stdout + backed_up.stderr
    with closing(sqlite3.connect(kept)) as database:
        assert {uid for (uid,) in database.execute("SELECT uid FROM seen")} == set(users.values())
    site.end(daemon, signal.SIGKILL)
    pids = [site.pid(name) for name in ports]
    start(site, warden)  # and joins them
    site.await_settled(*ports)
    assert [site.pid(name) for name in ports] == pids
    assert run_as_daemon(site, warden, "down").returncode == 0
    assert all(map(is_gone, pids))


@pytest.mark.skipif(bool(NO_RULES), reason=f"no rules of the kernel here: {NO_RULES}")
def test_what_builds_an_app_of_a_daemon_that_is_not_root_is_kept_from_this_host(site: Site, warden: Warden) -> None:
    warden.start()
    one = site.app("one")
    with socket.create_server(("127.0.0.1", 0)) as of_nobody:
        named = {"connect": ["all", f"127.0.0.1:{one}"]}
        building(site, one, of_nobody.getsockname()[1], network=named)
        start(site, warden)
        site.await_settled("one", "client", within=_STAGED_S)
        found = tries(site)
    assert found[:4] == ["through", "ConnectionRefusedError", "through", "PermissionError"]
    assert found[4:] == [_USER, 1]
