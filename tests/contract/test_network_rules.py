"""Rules of the kernel that hold users to where they may connect, in a network of the test's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.isolation.launching import confined
from reconciler.isolation.main import REFUSED
from reconciler.linux import nftables
from reconciler.planning.isolation.confinement import Confinement, proof_of

_NEW_NETWORK = 0x40000000
USER, OTHER = 70901, 70902

# Runs in the network of its own; what follows has its words as `user`, `other`, and prints one JSON value.
_BEGIN = """
import asyncio, fcntl, json, os, socket, struct, sys, time
from pathlib import Path
from reconciler.host import network_rules
from reconciler.host.network_rules import Held, NetworkRules
from reconciler.linux import nftables
from reconciler.linux import filter_table
from reconciler.linux.filter_table import Chain, Table, checksum
from reconciler.linux.nftables import change, generation, mark_of, replace
from reconciler.planning.isolation.destinations import place_of
user, other, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
with socket.socket() as own:
    fcntl.ioctl(own, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: it is up
listening = {address: socket.create_server((address, 0)) for address in ("127.0.0.1", "127.0.0.2")}
ports = {address: each.getsockname()[1] for address, each in listening.items()}

def connected(become, address, port, kind):
    reading, writing = os.pipe()
    if not (child := os.fork()):
        said = "through"
        try:
            become()
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as client:
                client.settimeout(60)
                client.connect((address, port))
                client.send(b"x")
        except OSError as error:
            said = type(error).__name__
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as end:
        return end.read().decode()

def tried(who, address, port=None, kind=socket.SOCK_STREAM):
    return connected(lambda: os.setresuid(who, who, who), address, port or ports[address], kind)
"""


def lacks() -> str:
    if os.geteuid() != 0:
        return "only root makes a network of its own that has rules"
    probe = f"import ctypes, sys\nsys.exit(ctypes.CDLL(None).unshare({_NEW_NETWORK}))\n"
    if subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True).returncode:
        return "this host allows no network of its own"
    try:
        nftables.mark_of("reconciler")
    except OSError as error:
        return f"this kernel has no nftables: {error.strerror}"
    return ""


LACKS = lacks()
pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")


def apart(program: str, root: Path) -> Any:
    """Run a program in a network of its own, and return what it printed last."""
    enter = f"import ctypes\nassert ctypes.CDLL(None).unshare({_NEW_NETWORK}) == 0\n"
    words = [sys.executable, "-c", enter + _BEGIN + program, str(USER), str(OTHER), str(root)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_user_connects_where_its_rules_allow_it_and_nowhere_else(tmp_path: Path) -> None:
    found = apart(
        """
udp = socket.SOCK_DGRAM
replace("reconciler-a", Table(chains=(Chain(user=user, allowed=(("127.0.0.1", ports["127.0.0.1"]),)),)), "mark")
print(json.dumps([
    [tried(who, address) for address in ports] + [tried(who, "127.0.0.9", 9, udp)] for who in (user, other)
]))
""",
        tmp_path,
    )
    assert found == [["through", "ConnectionRefusedError", "PermissionError"], ["through"] * 3]


def test_networks_and_ports_are_told_apart_in_both_versions(tmp_path: Path) -> None:
    found = apart(
        """
listening["::1"] = six = socket.create_server(("::1", 0), family=socket.AF_INET6)
def six_tried():
    if not (child := os.fork()):
        os.setresuid(user, user, user)
        with socket.socket(socket.AF_INET6) as client:
            os._exit(0 if client.connect_ex(six.getsockname()[:2]) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
said = []
for allowed in ((("127.0.0.0/31", 0),), (("", ports["127.0.0.2"]),), (("::1", 0),), (("0.0.0.0/0", 0),)):
    replace("reconciler-a", Table(chains=(Chain(user=user, allowed=allowed),)), "mark")
    said.append([*(tried(user, each) == "through" for each in ports), six_tried() == 0])
print(json.dumps(said))
""",
        tmp_path,
    )
    assert found == [[True, False, False], [False, True, False], [False, False, True], [True, True, False]]


def test_what_is_never_allowed_counts_before_what_is(tmp_path: Path) -> None:
    chain = "Chain(user=user, allowed=(('', 0),), never=(('127.255.83.9', 9),))"
    found = apart(
        f"""
replace("reconciler-a", Table(chains=({chain},)), "mark")
print(json.dumps([tried(user, "127.255.83.9", 9, socket.SOCK_DGRAM), tried(user, "127.0.0.1")]))
""",
        tmp_path,
    )
    assert found == ["PermissionError", "through"]


def test_a_connection_that_is_open_outlives_its_place_in_the_list(tmp_path: Path) -> None:
    found = apart(
        """
replace("reconciler-a", Table(chains=(Chain(user=user, allowed=(("127.0.0.1", 0),)),)), "mark")
ready, go = os.pipe(), os.pipe()
if not os.fork():
    os.setresuid(user, user, user)
    client = socket.socket()
    client.connect(("127.0.0.1", ports["127.0.0.1"]))
    os.write(ready[1], b"x"); os.read(go[0], 1)
    client.send(b"later")
    os._exit(0)
os.read(ready[0], 1)
replace("reconciler-a", Table(chains=(Chain(user=user),)), "mark")
os.write(go[1], b"x")
print(json.dumps([listening["127.0.0.1"].accept()[0].recv(9).decode(), tried(user, "127.0.0.1")]))
""",
        tmp_path,
    )
    assert found == ["later", "ConnectionRefusedError"]


def test_a_listener_that_root_has_opened_connects_nowhere_and_goes_on_accepting(tmp_path: Path) -> None:
    found = apart(
        """
import ctypes
def escape(how, listeners, bound="127.0.0.1"):
    with socket.create_server((bound, 0)) as before:
        port = before.getsockname()[1]
    own = socket.create_server((bound, port))  # by its number, as the daemon does
    places = [("" if bound == "0.0.0.0" else bound, port)] if listeners else []
    mine = Chain(user=user, allowed=(("127.0.0.1", 0),))
    replace("reconciler-a", Table(chains=(mine,), listeners=frozenset(places)), "mark")
    served = tried(other, "127.0.0.1", port)
    reading, writing = os.pipe()
    if not os.fork():
        os.setresuid(user, user, user)
        if how == "shutdown":
            own.shutdown(socket.SHUT_RDWR)
        else:
            ctypes.CDLL(None).connect(own.fileno(), bytes(16), 16)
        own.settimeout(60)
        try:
            own.connect(("127.0.0.2", ports["127.0.0.2"]))
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        else:
            os.write(writing, b"through")
        os._exit(0)
    return served, os.read(reading, 99).decode()
tries = [escape(how, listeners) for listeners in (False, True) for how in ("shutdown", "unspecified")]
print(json.dumps([*tries, escape("shutdown", True, "0.0.0.0")]))
""",
        tmp_path,
    )
    assert found == [["through", "through"]] * 2 + [["through", "ConnectionRefusedError"]] * 3


def test_what_has_the_port_of_a_listener_at_another_address_connects(tmp_path: Path) -> None:
    found = apart(
        """
def connected(family, listener, bound):
    server = socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
    replace("reconciler-a", Table(chains=(Chain(user=user),), listeners=frozenset([listener])), "mark")
    with server, socket.socket(family) as client:
        client.bind(bound)
        try:
            client.connect(server.getsockname())
        except OSError as error:
            return type(error).__name__
        return "through"
print(json.dumps([
    connected(socket.AF_INET, ("127.0.0.1", 8001), ("127.0.0.2", 8001)),
    connected(socket.AF_INET, ("127.0.0.2", 8002), ("127.0.0.2", 8002)),
    connected(socket.AF_INET, ("127.0.0.2", 8003), ("127.0.0.2", 8004)),
    connected(socket.AF_INET6, ("::2", 8005), ("::1", 8005)),
    connected(socket.AF_INET6, ("::1", 8006), ("::1", 8006)),
]))
""",
        tmp_path,
    )
    assert found == ["through", "ConnectionRefusedError", "through", "through", "ConnectionRefusedError"]


def test_a_table_is_replaced_as_a_whole_and_those_of_others_stay(tmp_path: Path) -> None:
    found = apart(
        """
mine = Table(chains=(Chain(user=user, allowed=(("127.0.0.1", 0),)),))
replace("host-firewall", Table(chains=(Chain(user=other),)), "theirs")
replace("reconciler-a", mine, "one")
first = mark_of("reconciler-a"), checksum(mine)
replace("reconciler-a", Table(), "")
replace("reconciler-a", Table(), "")
print(json.dumps([first, mark_of("reconciler-a"), mark_of("host-firewall")[0]]))
""",
        tmp_path,
    )
    ((mark, count), expected), gone, theirs = found
    assert (mark, count) == ("one", expected)
    assert (gone, theirs) == (["", 0], "theirs")


def test_a_table_of_a_thousand_users_is_one_transaction_and_one_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    found = apart(
        """
chains = [Chain(user=71_000 + each, allowed=(("10.0.0.0/8", 5432), ("", 443))) for each in range(1000)]
many = Table(chains=tuple(chains), listeners=frozenset(("", port) for port in range(8000, 9000)))
replace("reconciler-a", many, "many")
whole = mark_of("reconciler-a") == ("many", checksum(many))
before = generation()
refused = ""
try:
    filter_table._BASE = "u" * 300  # a name that the kernel refuses, in the middle of it
    replace("reconciler-a", Table(chains=(Chain(user=user),)), "refused")
except OSError as error:
    refused = str(error)
print(json.dumps([whole, bool(refused), mark_of("reconciler-a")[0], generation() == before]))
""",
        tmp_path,
    )
    assert found == [True, True, "many", True]


_RULES = """
told, names = [], {"db.internal": ["127.0.0.1"], "evil.example.com": ["127.0.0.1"]}
def resolve(name):
    if name not in names:
        raise OSError("no such name")
    return names[name]
def clear(rules):
    rules.want({})
    rules.apply()
def rules_of(table="reconciler-a"):
    return NetworkRules(table, root / table, told.append, resolve=resolve)
async def until(check):
    while not check():
        await asyncio.sleep(0.01)
"""


def test_names_count_once_they_are_looked_up_unless_they_lead_here_from_elsewhere(tmp_path: Path) -> None:
    found = apart(
        _RULES
        + """
names["db.internal"] = ["127.0.0.1", "10.1.1.1"]
async def main():
    rules = rules_of()
    rules.want({"shop": Held(user=user, places=(place_of("evil.example.com"), place_of("localhost")))})
    task = asyncio.create_task(rules.run(lambda: None))
    names["localhost"] = ["127.0.0.2"]
    places = [place_of(each) for each in ("evil.example.com", "localhost", "lost.example.com")]
    rules.want({"shop": Held(user=user, places=tuple(places))})
    await rules.looked_up()
    first = [tried(user, each) for each in ports]
    rules.want({})
    await task
    return [first, tried(user, "127.0.0.1"), mark_of("reconciler-a"), (root / "reconciler-a").exists()]
print(json.dumps(asyncio.run(main())))
""",
        tmp_path,
    )
    assert found == [["ConnectionRefusedError", "through"], "through", ["", 0], False]


def test_rules_that_another_program_removes_come_back(tmp_path: Path) -> None:
    found = apart(
        _RULES
        + """
async def main():
    rules = rules_of()
    rules.want({"shop": Held(user=user, places=(place_of("127.0.0.1"),), listens=(("127.0.0.1", 8001),))})
    task = asyncio.create_task(rules.run(lambda: None))
    await rules.looked_up()
    was = mark_of("reconciler-a")
    replace("reconciler-a", Table(), "")
    await until(lambda: mark_of("reconciler-a") == was)
    task.cancel()
    return told
print(json.dumps(asyncio.run(main())))
""",
        tmp_path,
    )
    assert found == ["another program had changed the rules for network.connect: they are as they were"]


def test_a_daemon_that_begins_again_finds_its_rules_and_removes_those_that_nothing_needs(tmp_path: Path) -> None:
    found = apart(
        _RULES
        + """
async def main():
    shop = Held(user=user, places=(place_of("127.0.0.1"),), listens=(("127.0.0.1", 8001), ("", 8002)))
    first = rules_of()
    first.admit("shop", shop)
    first.admit("shop", shop)  # as the second of its processes does
    was = mark_of("reconciler-a")
    beside = rules_of("reconciler-b")
    beside.admit("blog", Held(user=other, places=()))
    second = rules_of()
    held = mark_of("reconciler-a") == was
    second.want({})
    await second.run(lambda: None)
    return [held, mark_of("reconciler-a"), mark_of("reconciler-b")[1] > 0, tried(other, "127.0.0.1"), told]
print(json.dumps(asyncio.run(main())))
""",
        tmp_path,
    )
    assert found == [True, ["", 0], True, "ConnectionRefusedError", []]


def test_a_daemon_killed_before_any_of_its_effects_is_carried_on_by_the_next(tmp_path: Path) -> None:
    found = apart(
        _RULES
        + """
shop = Held(user=user, places=(place_of("127.0.0.1"),), listens=(("127.0.0.1", 8001),))
def killed(wanted, before):
    if not (child := os.fork()):
        for where, name in ((network_rules, "replace_file"), (Path, "unlink"), (nftables, "replace")):
            if name == before:
                setattr(where, name, lambda *_, **__: os._exit(7))
        rules = rules_of()
        rules.admit("shop", shop) if wanted else clear(rules)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
said = []
for before in ("replace_file", "replace", ""):
    ended = killed(True, before)
    first = rules_of()
    first.admit("shop", shop)
    said.append([before, ended, tried(user, "127.0.0.2"), (root / "reconciler-a").exists()])
    if before != "":
        clear(first)
for before in ("replace", "unlink"):
    rules_of().admit("shop", shop)
    ended = killed(False, before)
    clear(rules_of())
    said.append([before, ended, tried(user, "127.0.0.2"), mark_of("reconciler-a")[1], (root / "reconciler-a").exists()])
print(json.dumps(said))
""",
        tmp_path,
    )
    held = "ConnectionRefusedError", True
    assert found[:3] == [["replace_file", 7, *held], ["replace", 7, *held], ["", 0, *held]]
    assert found[3:] == [[each, 7, "through", 0, False] for each in ("replace", "unlink")]


def test_an_instance_without_a_user_of_its_own_is_not_started_where_rules_are_to_hold_it() -> None:
    seen = Confinement(isolation="strict", visible=("/usr", "/bin", "/lib", "/lib64"), connects="rules",
                       no_user="all users are in use", required=("network",))  # fmt: skip
    reading, writing = os.pipe()
    ended = subprocess.run(
        confined(("/bin/true",), seen, writing), pass_fds=[writing], check=False, capture_output=True, timeout=60
    )
    os.close(writing)
    with open(reading, "rb") as end:  # noqa: PTH123  a descriptor
        proof = proof_of(end.read().decode())
    assert ended.returncode == REFUSED
    assert proof is not None
    assert proof.missing["network"] == (
        "from inside it could send where its manifest does not let it;"
        " rules know an app by a user of its own, and all users are in use"
    )
