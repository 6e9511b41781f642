"""An app with a list of where it may connect to: it reaches that and nothing else, whatever becomes of the daemon."""

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.network_kernel import filters
from reconciler.linux import nftables
from reconciler.linux.filter_table import Table
from reconciler.linux.privileges import NET_ADMIN, set_capabilities
from tests.support.eventually import eventually
from tests.support.life import Cues, live
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS, NO_USERS
from tests.support.site import Forked, Site, get

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")]

# Answers how it went to connect to each port of this host that the query names, and to send to one by UDP.
_APP = """
import json, os, socket

def attempt(what):
    try:
        what().close()
    except OSError as error:
        return type(error).__name__
    return "through"

def udp(port):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.sendto(b"x", ("127.0.0.1", port))
    return own

def metadata():
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.sendto(b"", ("169.254.169.254", 9))
    return own

def found(ports):
    said = [attempt(lambda: socket.create_connection(("127.0.0.1", port), 60)) for port in ports]
    return json.dumps([*said, attempt(lambda: udp(ports[-1]))])

def listener():
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return found

def escape(port):  # by the socket that the daemon has opened
    own = listener()
    own.shutdown(socket.SHUT_RDWR)
    own.settimeout(60)
    own.connect(("127.0.0.1", port))
    return own

def application(environ, start_response):
    if environ["PATH_INFO"] == "/escape":
        with open(os.environ["HOME"] + "/escape", "w") as file:
            file.write(json.dumps([attempt(lambda: escape(int(environ["QUERY_STRING"])))]))
        os._exit(0)
    if environ["PATH_INFO"] == "/metadata":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [attempt(metadata).encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [found([int(each) for each in environ["QUERY_STRING"].split(",")]).encode()]
"""
_TO_ONE = ["through", "ConnectionRefusedError", "PermissionError"]


@pytest.fixture
def table(site: Site) -> Iterator[str]:
    """The name of the table of the site, which a daemon that was killed leaves."""
    site.state.mkdir(exist_ok=True)
    if not filters(site.paths, range(70_000, 80_000)):
        pytest.skip("no rules of the kernel know users here")
    yield "reconciler-"
    for daemon in site.daemons:
        site.end(daemon, signal.SIGKILL)  # it would put back what is removed
    if site.state_id():
        nftables.OwnedTables().replace(f"reconciler-{site.state_id()}", Table(), "")


def client(site: Site, **fields: Any) -> int:
    port = a_port()
    (site.root / "apps/client").mkdir(exist_ok=True)
    site.save(site.root / "apps/client/wsgi.py", _APP)
    site.manifest("client", port=port, isolation="strict", probation="0s", **fields)
    return port


def tried(port: int, *ports: int) -> list[str]:
    answer: list[str] = json.loads(get(port, f"/?{','.join(map(str, ports))}"))
    return answer


def wrote(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("]")


def isolation_of(site: Site, name: str) -> dict[str, Any]:
    (told,) = json.loads(site.cli("isolation", name, "--json").stdout)["instances"]
    assert isinstance(told, dict)
    return told


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_an_app_reaches_what_its_list_has_and_an_edit_of_that_restarts_nothing(site: Site, table: str) -> None:
    one, other = site.app("one"), site.app("other")
    port = client(site, network={"connect": [f"localhost:{one}"]})
    daemon = site.live()
    site.await_settled("one", "other", "client", within=120)
    assert tried(port, one, other) == _TO_ONE
    told = isolation_of(site, "client")
    assert "network" in told["held"], told
    assert told["connects"] == [f"localhost:{one}"]
    shown = site.cli("isolation", "client").stdout
    assert f"client: its manifest lets it connect to localhost:{one}" in shown
    assert "what builds isolated apps" in shown
    pid = site.pid("client")

    site.manifest("client", port=port, isolation="strict", probation="0s", network={"connect": [f"127.0.0.1:{other}"]})
    eventually(lambda: tried(port, other, one) == _TO_ONE, 30)
    site.await_settled("client")
    assert site.pid("client") == pid, "an edit of the list alone restarts nothing"

    site.end(daemon, signal.SIGKILL)
    assert tried(port, other, one) == _TO_ONE, "the rules outlive the daemon"
    name = f"{table}{site.state_id()}"
    nftables.OwnedTables().replace(name, Table(), "")
    site.live()
    eventually(lambda: nftables.mark_of(name)[0] and tried(port, other, one) == _TO_ONE, 30)

    site.manifest("client", port=port, isolation="strict", probation="0s")
    refused = "ConnectionRefusedError"
    eventually(lambda: tried(port, one, other) == [refused, refused, "through"], 30)
    assert site.cli("down").returncode == 0
    assert nftables.mark_of(name) == ("", 0), "nothing of it runs, and no rule of it is left"


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_down_removes_the_rules_of_a_daemon_of_which_a_thread_reads_on(site: Site, table: str) -> None:
    client(site, network={"connect": ["127.0.0.9"]})
    site.live(Cues(reads_on=True))
    site.await_settled("client", within=120)
    name = f"{table}{site.state_id()}"
    assert name in nftables.tables()
    down = site.cli("down")
    assert (down.returncode, down.stderr) == (0, "")
    assert name not in nftables.tables()


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_down_fails_and_says_so_where_the_kernel_keeps_the_rules(site: Site, table: str) -> None:
    client(site, network={"connect": ["127.0.0.9"]})
    daemon = site.live()
    site.await_settled("client", within=120)
    name = f"{table}{site.state_id()}"
    site.end(daemon, signal.SIGKILL)
    other = nftables.OwnedTables()
    if not eventually(lambda: other.take(name)):
        pytest.skip("this kernel knows no owners of tables")
    down = site.cli("down")
    assert down.returncode == 1
    assert "the kernel keeps the rules for network.connect: Operation not permitted" in down.stderr
    assert down.stdout == "stopped 1 app instance\n"
    other.replace(name, Table(), "")
    assert site.cli("down").returncode == 0


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_all_of_an_app_is_held_to_its_list(site: Site, table: str) -> None:
    one, other = site.app("one"), site.app("other")
    say = f"python -c \"import os, wsgi; open(os.environ['HOME'] + '/WHO', 'w').write(wsgi.found([{one}, {other}]))\""
    port = client(
        site,
        network={"connect": [one]},
        release=say.replace("WHO", "release"),
        processes={"worker": {"command": ["sh", "-c", f"{say.replace('WHO', 'worker')}; exec sleep 600"]}},
    )
    site.live()
    site.await_settled("one", "other", "client", within=120)
    home = site.paths.home("client")
    for who in ("release", "worker"):
        said = home / who
        eventually(partial(wrote, said), 30)
        assert json.loads(said.read_text()) == _TO_ONE, who
    here = {"RECONCILER_STATE": str(site.state)}
    ended = site.cli("task", "client", "--", "sh", "-c", say.replace("WHO", "task"), env=here)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((home / "task").read_text()) == _TO_ONE
    code = f"import wsgi; print(wsgi.found([{one}, {other}]))"
    shell = site.cli("shell", "client", "--", "python", "-c", code, env=here)
    assert json.loads(shell.stdout or "[]") == _TO_ONE, shell.stderr
    assert tried(port, one, other) == _TO_ONE


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_an_app_connects_nowhere_by_the_listener_that_the_daemon_opened(site: Site, table: str) -> None:
    other = site.app("other")
    port = client(site, network={"connect": ["127.0.0.9"]})
    site.live()
    site.await_settled("other", "client", within=120)
    with suppress(OSError, http.client.HTTPException):
        get(port, f"/escape?{other}")
    said = site.paths.home("client") / "escape"
    eventually(partial(wrote, said), 30)
    assert json.loads(said.read_text()) == ["ConnectionRefusedError"]


def test_without_rules_an_app_is_held_to_ports_and_told_so(site: Site) -> None:
    one, other = site.app("one"), site.app("other")
    fields: dict[str, Any] = {"network": {"connect": [f"db.internal:{one}"]}}
    port = client(site, **fields)
    begin_without_rules(site)
    site.await_settled("one", "other", "client", within=120)
    assert tried(port, one, other)[:2] == ["through", "PermissionError"]
    lacks = isolation_of(site, "client")["missing"]["network"]
    assert "only ports of TCP are held, whatever the address" in lacks
    assert "N (network): no rules of the kernel know its user" in site.told("client")["message"]
    pid = site.pid("client")

    site.manifest("client", port=port, isolation="strict", probation="0s", network={"connect": [other]})
    site.await_successor("client", pid)
    assert tried(port, other, one)[:2] == ["through", "PermissionError"], "a new instance took over"


def test_without_rules_no_app_starts_where_the_network_is_required_and_what_serves_goes_on(site: Site) -> None:
    port = client(site)
    daemon = begin_without_rules(site)
    site.await_settled("client", within=120)
    assert "N (network)" in site.told("client")["message"]
    pid = site.pid("client")
    site.end(daemon, signal.SIGKILL)
    begin_without_rules(site, isolation_default="strict", isolation_required=("network",))
    site.manifest("client", port=port, isolation="strict", probation="0s", env={"NEXT": "1"})
    required = 'isolation requires "network", and no rules of the kernel know its user'
    eventually(lambda: required in site.told("client").get("message", ""), 60)
    assert "isolation.require of the host's settings" in site.told("client")["message"]
    assert site.pid("client") == pid


def begin_without_rules(site: Site, **settings: Any) -> Forked:
    arguments = (str(site.manifests), str(site.state), str(site.console), settings)
    daemon = Forked(target=live_without_rules, args=arguments, daemon=True)
    daemon.start()
    site.daemons.append(daemon)
    return daemon


def live_without_rules(manifests: str, state: str, console: str, settings: dict[str, Any]) -> None:
    """Run a daemon that lacks the right to rules of the kernel, as in most containers."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("CapPrm:")]
    kept = int(line.split()[1], 16) & ~(1 << NET_ADMIN)
    set_capabilities(effective=kept, permitted=kept, inheritable=0)
    live(manifests, state, settings, console, Cues())


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_an_app_without_a_list_reaches_no_other_app_nor_the_metadata_of_a_cloud(site: Site, table: str) -> None:
    one = site.app("one")
    port = client(site)
    with socket.create_server(("127.0.0.1", 0)) as of_nobody:
        plain = of_nobody.getsockname()[1]
        daemon = site.live()
        site.await_settled("one", "client", within=120)
        assert tried(port, one, plain, port) == ["ConnectionRefusedError", "through", "through", "through"]
        assert get(port, "/metadata") == "PermissionError"
        told = isolation_of(site, "client")
        assert "network" in told["held"], told
        pid = site.pid("client")

        two = site.app("two")
        site.await_settled("two", within=60)
        eventually(lambda: tried(port, one, two, plain)[:3] == [*["ConnectionRefusedError"] * 2, "through"], 30)
        assert site.pid("client") == pid, "another app restarts nothing"
        site.end(daemon, signal.SIGKILL)
        assert tried(port, one, two, plain)[:3] == [*["ConnectionRefusedError"] * 2, "through"]
        site.live()
        listed = {"connect": ["all", f"127.0.0.1:{two}"]}
        site.manifest("client", port=port, isolation="strict", probation="0s", network=listed)
        site.await_successor("client", pid)
        assert tried(port, one, two, plain)[:3] == ["ConnectionRefusedError", "through", "through"]
        assert get(port, "/metadata") == "PermissionError"


@pytest.mark.skipif(bool(NO_USERS), reason=f"no users of their own here: {NO_USERS}")
def test_an_app_that_ran_before_stays_as_it_was_until_it_is_restarted(site: Site, table: str) -> None:
    one = site.app("one")
    port = client(site)
    daemon = begin_without_rules(site)
    site.await_settled("one", "client", within=120)
    assert tried(port, one) == ["through"] * 2
    lacks = isolation_of(site, "client")["missing"]["network"]
    assert "the metadata of a cloud are not refused to it" in lacks
    assert "N (network): no rules of the kernel know its user" in site.told("client")["message"]
    site.end(daemon, signal.SIGKILL)

    site.live()
    site.await_settled("one", "client")
    here = {"RECONCILER_STATE": str(site.state)}
    eventually(lambda: site.cli("task", "client", "--", "true", env=here).returncode == 0)  # it may just be starting
    assert tried(port, one) == ["through"] * 2, "it is as it was"
    pid = site.pid("client")
    assert site.cli("restart", "client", env=here).returncode == 0
    site.await_successor("client", pid)
    assert tried(port, one) == ["ConnectionRefusedError", "through"]
    assert "N (network)" not in site.told("client")["message"]
