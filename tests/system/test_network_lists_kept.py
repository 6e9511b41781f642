"""An app that had a list is held to it, or to less, until nothing of it runs: whatever becomes of its manifest."""

import os
import signal
import socket
from pathlib import Path

import pytest

from reconciler.isolation.app_users import app_users
from reconciler.linux import nftables
from reconciler.linux.filter_table import Table
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS, NO_USERS
from tests.support.site import Site
from tests.system.test_network_lists import client, table, tried

__all__ = ["table"]

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS or NO_USERS), reason=f"no cells or users here: {LACKS or NO_USERS}"),
]
_HELD = ["ConnectionRefusedError", "ConnectionRefusedError", "PermissionError"]
# Leaves a process behind that nothing knows of, by none of what marks those of an app, and which stays.
_LEFT = """
import ctypes, os, signal
if not os.fork():
    os.setsid()
    if not os.fork():
        os.closerange(0, 1024)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
"""


def reached(user: int, port: int) -> bool:
    """Whether a user connects to a port of this host."""
    if not (child := os.fork()):
        os.setresuid(user, user, user)
        with socket.socket() as own:
            os._exit(0 if own.connect_ex(("127.0.0.1", port)) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def user_of(site: Site, app: str) -> int:
    (user,) = [user for user, name in app_users(site.paths).items() if name == app]
    return user


def processes_of(user: int) -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal() and each.stat().st_uid == user]


def test_one_that_is_to_have_no_network_is_held_at_once_even_if_its_deploy_fails(site: Site, table: str) -> None:
    one, other = site.app("one"), site.app("other")
    port = client(site, network={"connect": [one]})
    daemon = site.live()
    site.await_settled("one", "other", "client", within=120)
    pid = site.pid("client")
    refused = {"network": {"connect": "none"}, "release": "false"}
    site.manifest("client", port=port, isolation="strict", probation="0s", **refused)
    eventually(lambda: tried(port, one, other) == _HELD, 30)
    site.end(daemon, signal.SIGKILL)
    site.live()
    site.await_settled("one", "other", within=120)
    assert tried(port, one, other) == _HELD, "the next daemon knows, too"
    assert site.pid("client") == pid, "the deploy failed, and the former goes on"


def test_one_that_is_removed_is_held_until_the_last_process_of_its_user_has_ended(site: Site, table: str) -> None:
    one = site.app("one")
    site.source("client", left=_LEFT)
    client(site, network={"connect": ["127.0.0.9"]}, release="python left.py")
    daemon = site.live()
    site.await_settled("one", "client", within=120)
    user, name = user_of(site, "client"), f"{table}{site.state_id()}"
    left = os.fork()
    if not left:
        os.setresuid(user, user, user)
        os.execve("/bin/sleep", ["sleep", "600"], {})
    try:
        (site.manifests / "client.yaml").unlink()
        eventually(lambda: not site.instances("client"), 30)
        site.app("later")
        site.await_settled("later")
        assert not reached(user, one), "something of it runs"
        site.end(daemon, signal.SIGKILL)
        nftables.OwnedTables().replace(name, Table(), "")
        site.live()
        eventually(lambda: not reached(user, one), 30)
    finally:
        os.kill(left, signal.SIGKILL)
        os.waitpid(left, 0)
    site.manifest("later", port=a_port())
    eventually(lambda: reached(user, one), 90)


def test_one_whose_manifest_is_refused_is_held_by_the_next_daemon(site: Site, table: str) -> None:
    one, other = site.app("one"), site.app("other")
    port = client(site, network={"connect": [one]})
    daemon = site.live()
    site.await_settled("one", "other", "client", within=120)
    site.end(daemon, signal.SIGKILL)
    (site.manifests / "client.yaml").write_text("network: {connect: [1-2]}\n")
    nftables.OwnedTables().replace(f"{table}{site.state_id()}", Table(), "")
    site.live()
    eventually(lambda: tried(port, one, other) == ["through", *_HELD[1:]], 30)
