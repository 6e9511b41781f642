"""An isolated app on a running host: it serves, sees nothing of others, and what it has proved outlives the daemon."""

import errno
import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.isolation.app_users import AppUsers
from reconciler.linux.process_identity import owner_of
from reconciler.state.paths import StatePaths
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS, NO_USERS, SHARED_NOTES
from tests.support.site import REPOSITORY, Site, get

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")]

_APP = """
import os
OTHERS = DATABASE, HOMES = PATHS

def attempt(what, path):
    try:
        return what(path)
    except OSError as error:
        return type(error).__name__

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = [attempt(open, DATABASE), attempt(os.listdir, HOMES), attempt(open, "/etc/shadow")]
    seen.append(attempt(lambda path: open(path, "w"), __file__ + ".new"))
    seen.append(os.environ["SHOWN"])
    with open(os.environ["HOME"] + "/kept", "w") as file:
        file.write("kept")
    print("printed", flush=True)
    return [repr(seen).encode()]
"""


def test_an_isolated_app_serves_and_sees_nothing_of_others(site: Site) -> None:
    port, other = a_port(), site.app("other")
    directory = site.root / "apps/shut"
    directory.mkdir()
    paths = (str(site.paths.database), str(site.paths.home("shut").parent))
    site.save(directory / "wsgi.py", _APP.replace("PATHS", repr(paths)))
    loader = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(site.root / "escaped"), "SHOWN": "yes"}
    site.manifest("shut", port=port, isolation="strict", health={"path": "/"}, env=loader)
    daemon = site.live()
    site.await_settled("shut", "other")
    (refused, homes, shadow, written, shown) = eval(get(port))
    assert shown == "yes"
    assert refused == "FileNotFoundError"
    assert homes == ["shut"]
    assert shadow == "PermissionError"
    assert written == "OSError"
    assert not list(site.root.glob("escaped*"))  # nothing of the manifest steers what is not confined yet
    assert (site.paths.home("shut") / "kept").read_text() == "kept"
    assert "printed" in site.paths.log("shut", "app").read_text()
    eventually(lambda: "GET / " in site.paths.log("shut", "access").read_text())  # written once it is answered
    assert get(other)
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shut"]
    assert row["state"] == "running"
    assert ("U (user)" in row["message"]) == bool(NO_USERS)
    pid = site.pid("shut")
    site.end(daemon, signal.SIGKILL)
    site.live()
    site.await_settled("shut")
    assert site.pid("shut") == pid
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shut"]
    assert ("U (user)" in row["message"]) == bool(NO_USERS)


def test_what_is_required_and_missing_is_not_started(site: Site) -> None:
    site.app("shut", isolation="strict")
    site.live(isolation_required=("user",), first_uid=1, last_uid=1)  # of which none is free
    eventually(lambda: site.told("shut").get("state") == "failing", 30)
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shut"]
    assert 'isolation requires "user", and it runs as the user of the daemon' in row["message"]


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_an_app_whose_user_another_daemon_has_says_so_and_starts_once_it_is_taken_out(site: Site) -> None:
    other = AppUsers(StatePaths(state=site.root / "other"), range(78_000, 78_100))
    (site.root / "other").mkdir()
    number = other.of("theirs")
    site.paths.users.write_text(json.dumps({"app:shut": number}))  # as after a copy of the state directory
    site.app("shut", isolation="strict")
    site.live(first_uid=78_000, last_uid=78_099)
    said = f"it gives {number} to app:shut, and {site.root}/other has it, too: take it out of one of the two"
    eventually(lambda: said in site.told("shut").get("message", ""), 30)
    site.paths.users.write_text("{}")
    site.await_settled("shut")
    assert owner_of(site.pid("shut") or 0) not in (None, 0, number)


_SEEN = """
import json, os, resource, socket, sys
from pathlib import Path

def attempt(what, *arguments):
    try:
        return what(*arguments)
    except OSError as error:
        return type(error).__name__

name, database, homes, daemon, port = sys.argv[1:6]

def take_port():
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(("127.0.0.1", int(port)))

environment = Path(sys.prefix) / "lib/written"
found = {
    "database": attempt(lambda: len(Path(database).read_bytes())),
    "homes": attempt(os.listdir, homes),
    "environment": attempt(environment.write_text, "written"),
    "code": attempt(Path("written").write_text, "written"),
    "variable": os.environ["COLOUR"],
    "limits": attempt(resource.prlimit, int(daemon), resource.RLIMIT_CORE, (0, 0)),
    "port": attempt(take_port),
}
Path(os.environ["HOME"], name + ".json").write_text(json.dumps(found))
if name == "worker":
    import time
    time.sleep(3600)
"""


def test_all_commands_of_an_isolated_app_see_what_it_sees(site: Site) -> None:
    other = site.app("other")
    paths = [str(site.paths.database), str(site.paths.home("shut").parent), str(os.getpid()), str(other)]
    theirs = site.root / "theirs"
    theirs.write_text("as it was")
    site.app(
        "shut",
        isolation="strict",
        env={
            "COLOUR": "green",
            "LD_DEBUG": "libs",
            "LD_DEBUG_OUTPUT": str(site.root / "escaped"),
            "RECONCILER_CELL": str(theirs),
        },
        release=f"python seen.py release {' '.join(paths)}",
        processes={
            "worker": {
                "command": ["python", "seen.py", "worker", *paths],
                "ready": {"command": ["python", "seen.py", "ready", *paths]},
            }
        },
    )
    site.save(site.root / "apps/shut/seen.py", _SEEN)
    site.live()
    site.await_settled("shut", "other")

    def seen(name: str) -> dict[str, object]:
        file = site.paths.home("shut") / f"{name}.json"
        found: dict[str, object] = json.loads(eventually(lambda: file.read_text() if file.exists() else "", 30))
        return found

    places = {"task": (), "shell": ("--manifests", str(site.manifests))}

    def run(how: str, *words: str) -> "subprocess.CompletedProcess[str]":
        command = (sys.executable, "-m", "reconciler", how, "--state", str(site.state), *places[how], "shut", "--")
        return subprocess.run((*command, *words), capture_output=True, text=True, cwd=REPOSITORY, check=False)

    for how in places:
        told = run(how, "python", "seen.py", how, *paths)
        assert told.returncode == 0, told.stderr
        assert run(how, "no-such-program").returncode == 127
    apart = {"database": "FileNotFoundError", "homes": ["shut"], "environment": "OSError", "variable": "green"}
    apart |= {"limits": "PermissionError", "port": "PermissionError"}
    for name in ("worker", "ready", "task", "shell"):
        assert seen(name) == {**apart, "code": "OSError"}, name
    assert seen("release") == {**apart, "code": len("written")}
    assert theirs.read_text() == "as it was"
    assert not list(site.root.glob("escaped*"))


def test_no_command_runs_without_what_is_required(site: Site) -> None:
    site.app("shut", isolation="strict", release="touch $HOME/released")
    site.live(isolation_required=("user",), first_uid=1, last_uid=1)  # of which none is free
    eventually(lambda: site.told("shut").get("state") == "failing", 30)
    told = site.told("shut")["message"]
    assert 'isolation requires "user", and it runs as the user of the daemon' in told
    assert not (site.paths.home("shut") / "released").exists()


_WITHOUT_NETWORK = """
import ctypes, json, os, socket
from pathlib import Path

HOME = Path(os.environ["HOME"])

def attempt(what, *arguments):
    try:
        return str(what(*arguments))
    except OSError as error:
        return type(error).__name__, error.errno

def application(environ, start_response):
    where = ("127.0.0.1", int(environ["QUERY_STRING"] or 9))
    if environ["PATH_INFO"] == "/escape":  # take the connection that was accepted for one to another place
        own = environ["gunicorn.socket"]
        left = ctypes.CDLL(None).connect(own.fileno(), bytes(16), 16)
        found = [left, attempt(own.connect, where), attempt(own.sendto, b"GET / HTTP/1.0", 0x20000000, where)]
        (HOME / "escape.json").write_text(json.dumps(found))
        os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    found = [
        attempt(socket.create_connection, where),
        attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", where)),
        attempt(socket.getaddrinfo, "example.com", 80),
    ]
    with socket.socketpair()[0] as local:
        found.append(local.family == socket.AF_UNIX)
    return [json.dumps(found).encode()]
"""


def test_an_app_without_a_network_answers_and_reaches_none(site: Site) -> None:
    port, other = a_port(), site.app("other")
    directory = site.root / "apps/shut"
    directory.mkdir()
    site.save(directory / "wsgi.py", _WITHOUT_NETWORK)
    site.manifest("shut", port=port, isolation="strict", network={"connect": "none"}, probation="0s")
    site.live()
    site.await_settled("shut", "other")
    assert get(other)
    connected, sent, looked_up, local = json.loads(get(port, f"/?{other}"))
    assert connected == sent == ["OSError", errno.EAFNOSUPPORT]
    assert (looked_up[0], local) == ("gaierror", True)
    with suppress(OSError, http.client.HTTPException):
        get(port, f"/escape?{other}")
    escape = site.paths.home("shut") / "escape.json"
    left, connected, sent = json.loads(eventually(lambda: escape.read_text() if escape.exists() else ""))
    assert left == 0, "a connection may be left, and the kernel must refuse the next one"
    assert connected == ["PermissionError", errno.EACCES]
    assert sent == ["PermissionError", errno.EPERM]
    (told,) = json.loads(site.cli("isolation", "shut", "--json").stdout)["instances"]
    assert "network" in told["held"], told


def test_an_isolated_program_opens_the_port_that_it_is_to_listen_at(site: Site) -> None:
    port = site.app("shut", isolation="strict", command=["python", "-m", "http.server", "$PORT"], listen="port")
    site.live()
    site.await_settled("shut")
    assert "wsgi.py" in get(port)


def test_an_isolated_app_opens_ports_if_its_manifest_says_so(site: Site) -> None:
    opening = "import socket; socket.create_server(('127.0.0.1', 0)); print('opened', flush=True)"
    for name, may in (("closed", False), ("open", True)):
        site.app(name, isolation="strict", release=f'python -c "{opening}"', network={"listen": may})
    site.live()
    eventually(lambda: site.told("closed").get("state") == "failing", 30)
    site.await_settled("open")
    assert "PermissionError" in site.told("closed")["message"]


def test_an_app_that_isolation_breaks_is_told_the_path_and_the_field(site: Site) -> None:
    site.source("writes")
    site.save(site.root / "apps/writes/wsgi.py", "application = open(__file__ + '.cache', 'w')")
    site.manifest("writes", isolation="strict", port=a_port())
    site.app("reads", isolation="strict", release="python -c \"open('/srv/absent')\"")
    site.live()
    told = {"writes": "wsgi.py.cache: 'persist' keeps what is named there", "reads": "it sees /srv/absent only if"}
    for name, words in told.items():

        def is_told(name: str = name, words: str = words) -> bool:
            return words in site.told(name).get("message", "")

        eventually(is_told, 30)


_PEEK = """
import json, os, signal, sqlite3
from urllib.parse import parse_qs

def attempt(what, *arguments):
    try:
        return what(*arguments) and "done"
    except OSError as error:
        return type(error).__name__

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    home = os.environ["HOME"]
    with open(home + "/kept", "a") as file:
        file.write("x")
    found = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "kept": os.stat(home + "/kept").st_size}
    other = parse_qs(environ["QUERY_STRING"]).get("pid")
    if other:
        pid = int(other[0])
        found["kill"] = attempt(os.kill, pid, 0)
        found["environ"] = attempt(lambda: open("/proc/%d/environ" % pid).read())
    return [json.dumps(found).encode()]
"""


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of apps here: {NO_USERS}")
def test_each_isolated_app_has_a_user_of_its_own_and_keeps_it(site: Site) -> None:
    ports = {"one": a_port(), "two": a_port(), "open": a_port()}
    for name, port in ports.items():
        directory = site.root / f"apps/{name}"
        directory.mkdir()
        site.save(directory / "wsgi.py", _PEEK)
        isolation = "none" if name == "open" else "strict"
        release = "python -c \"import os; open(os.environ['HOME'] + '/released', 'w').write(str(os.getuid()))\""
        site.manifest(name, port=port, isolation=isolation, release=release, probation="0s")
    daemon = site.live()
    site.await_settled(*ports)
    pids = {name: site.told(name)["pid"] for name in ports}
    told = {name: json.loads(get(port, f"/?pid={pids['one']}")) for name, port in ports.items()}
    users = {name: facts["uid"] for name, facts in told.items()}
    assert users["open"] == os.geteuid()
    assert site.told("open")["user"] is None
    assert "2 have one" in site.cli("doctor").stdout
    assert len({users["one"], users["two"], os.geteuid()}) == 3
    assert (told["two"]["kill"], told["two"]["environ"]) == ("PermissionError", "FileNotFoundError")
    assert (told["open"]["kill"], told["open"]["environ"]) != ("PermissionError", "FileNotFoundError"), "a control"
    for name in ("one", "two"):
        (confined,) = json.loads(site.cli("isolation", name, "--json").stdout)["instances"]
        assert "user" in confined["held"], confined
        assert confined["user"] == site.told(name)["user"] == users[name]
        assert f"runs as user {users[name]}" in site.cli("status", name).stdout
        shown = [line.split() for line in site.cli("ps", name).stdout.splitlines()]
        assert {cells[3] for cells in shown} == {"USER", str(users[name])}, shown
        assert (site.paths.home(name) / "released").read_text() == str(users[name])
        assert {each.lstat().st_uid for each in site.paths.home(name).iterdir()} == {users[name]}
        assert site.paths.home(name).stat().st_mode & 0o7777 == 0o700
        places = ("--state", str(site.state), "--manifests", str(site.manifests))
        words = (sys.executable, "-m", "reconciler", "shell", *places, name, "--", "python", "-c")
        command = (*words, "import getpass, os, pwd; print(getpass.getuser(), *pwd.getpwuid(os.getuid())[::5])")
        shell = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
        assert shell.stdout.split() == [f"app-{name}", f"app-{name}", str(site.paths.home(name))], shell
        assert f"app-{name}" not in Path("/etc/passwd").read_text()
    site.end(daemon, signal.SIGKILL)
    (site.state / "users.json").write_text('{"app:one": 7')  # as a half-written one
    assert "users.json: it is no JSON object" in site.cli("doctor").stdout
    site.live()
    site.await_settled(*ports)
    assert {name: site.told(name)["pid"] for name in ports} == pids, "adopted"
    site.manifest("one", port=ports["one"], isolation="none", probation="0s")
    eventually(lambda: json.loads(get(ports["one"]))["uid"] == os.geteuid(), 30)
    site.manifest("one", port=ports["one"], isolation="strict", probation="0s")
    eventually(lambda: json.loads(get(ports["one"]))["uid"] == users["one"], 30)
    assert {each.lstat().st_uid for each in site.paths.home("one").iterdir()} == {users["one"]}


_LOOKS = """
import json, os, socket, tempfile

def attempt(what, *arguments):
    try:
        return what(*arguments) and "done"
    except OSError as error:
        return type(error).__name__

def take_port():
    with socket.create_server(("127.0.0.1", 0)):
        return True

DATABASE, HOMES, DAEMON, SEEN = LOOKED_AT

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    with open(os.environ["HOME"] + "/kept", "a") as file, tempfile.TemporaryFile() as other:
        file.write("x")
        other.write(b"x")
    found = {
        "uid": os.getuid(),
        "database": attempt(open, DATABASE),
        "homes": os.listdir(HOMES),
        "code": attempt(open, __file__ + ".new", "w"),
        "shadow": attempt(open, "/etc/shadow"),
        "daemon": attempt(os.kill, DAEMON, 0),
        "seen": attempt(lambda: open(SEEN).read()),
        "port": attempt(take_port),
    }
    return [json.dumps(found).encode()]
"""


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of apps here: {NO_USERS}")
def test_a_user_alone_keeps_an_app_from_others_and_leaves_it_the_host(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = tmp_path_factory.mktemp("host") / "seen"
    seen.write_text("of the host")
    for path in (seen, *list(seen.parents)[:-1]):
        path.chmod(path.stat().st_mode | 0o005)
    looked_at = (str(site.paths.database), str(site.paths.home("any").parent), os.getpid(), str(seen))
    ports = {"one": a_port(), "two": a_port()}
    for name, port in ports.items():
        directory = site.root / f"apps/{name}"
        directory.mkdir()
        site.save(directory / "wsgi.py", _LOOKS.replace("LOOKED_AT", repr(looked_at)))
        site.manifest(name, port=port, isolation="user", probation="0s")
    site.live()
    site.await_settled(*ports)
    told = {name: json.loads(get(port)) for name, port in ports.items()}
    assert len({facts["uid"] for facts in told.values()} | {os.geteuid()}) == 3
    for name, facts in told.items():
        assert facts["homes"] == [name]
        assert (facts["database"], facts["daemon"]) == ("FileNotFoundError", "PermissionError")
        assert (facts["code"], facts["shadow"]) == ("OSError", "PermissionError")
        assert (facts["seen"], facts["port"]) == ("done", "done")
        (confined,) = json.loads(site.cli("isolation", name, "--json").stdout)["instances"]
        assert (confined["isolation"], confined["held"], confined["missing"]) == ("user", ["user"], {})
        assert confined["tried"] > 10


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of apps here: {NO_USERS}")
def test_isolated_apps_share_a_service_in_files_and_others_are_kept_from_it(site: Site) -> None:
    site.save(site.manifests / "notes.yaml", "kind: service\nname: notes\ntype: sqlite\n")
    ports = {"one": a_port(), "two": a_port(), "open": a_port()}
    for name, port in ports.items():
        directory = site.root / f"apps/{name}"
        directory.mkdir()
        site.save(directory / "wsgi.py", SHARED_NOTES)
        isolation = "none" if name == "open" else "strict"
        site.manifest(name, port=port, isolation=isolation, services=["notes"], probation="0s")
    site.live()
    site.await_settled(*ports)
    told = [json.loads(get(port)) for port in (*ports.values(), *ports.values())]
    assert told[-1]["seen"] == sorted({facts["uid"] for facts in told})
    assert len(told[-1]["seen"]) == 3
    (directory,) = (site.state / "services/notes").iterdir()
    assert directory.stat().st_mode & 0o7777 == 0o2770
    assert {each.stat().st_mode & 0o007 for each in directory.iterdir() if each.suffix != ".json"} == {0}


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of apps here: {NO_USERS}")
def test_what_serves_keeps_its_files_until_it_is_stopped_though_users_are_given_out_by_now(site: Site) -> None:
    port = a_port()
    site.app("shop", port=port)
    site.save(site.root / "apps/shop/wsgi.py", _PEEK)
    site.manifest("shop", port=port, isolation="strict", probation="0s")
    daemon = site.live(first_uid=1, last_uid=1)  # of which none is free
    site.await_settled("shop")
    assert json.loads(get(port))["uid"] == os.geteuid()
    site.end(daemon, signal.SIGKILL)
    site.live()
    site.await_settled("shop")
    pid = site.pid("shop")
    site.save(site.root / "apps/shop/wsgi.py", _PEEK + "# edited\n")
    eventually(lambda: site.pid("shop") not in (pid, None), 30)
    site.await_settled("shop")
    told = json.loads(get(port))
    assert (told["uid"], told["kept"] > 1) == (os.geteuid(), True)
    eventually(lambda: "it gets its own once it is stopped and started again" in site.told("shop")["message"], 60)
    assert site.cli("stop", "shop").returncode == 0
    eventually(lambda: site.told("shop").get("state") == "stopped", 30)
    assert site.cli("start", "shop").returncode == 0
    site.await_settled("shop")
    told = json.loads(get(port))
    assert told["uid"] not in (0, os.geteuid())
    assert told["kept"] > 2
