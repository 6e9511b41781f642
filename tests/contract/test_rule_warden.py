"""The warden's rules of the kernel, in a network of the test's own: those of its daemon's apps, and of nobody else."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.isolation import rule_requests
from reconciler.isolation.rule_requests import table_of
from reconciler.isolation.rules_by_warden import written
from reconciler.linux.filter_table import Chain, Table
from tests.contract.test_network_rules import LACKS, USER, apart
from tests.contract.test_warden import open_to_all
from tests.support.site import REPOSITORY

_USERS, _DAEMON = range(70_000, 80_000), 53_901
_BEGINS = f"gives {_DAEMON} the users from 70000 to 79999, at {{}}/socket"

needs_rules = pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")

# A warden in that network, and `asked`, which has a process of a user ask it.
_BEGIN = f"""
import select, signal, subprocess
from reconciler.isolation.rules_by_warden import RulesByWarden, holds_builds
from reconciler.isolation.warden import VARIABLE
daemon, place, identity = {_DAEMON}, root / "socket", "0123456789abcdef"
os.environ[VARIABLE], os.environ["RECONCILER_USERS"] = str(place), str(root / "users")
def warden():
    words = (sys.executable, "-m", "reconciler", "warden", "--user", str(daemon), "--socket", str(place))
    found = subprocess.Popen(words, cwd={str(REPOSITORY)!r}, stdout=subprocess.PIPE, text=True)
    begun = found.stdout.readline().strip()
    said or said.append(begun)
    return found
def asked(what, who=daemon):
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.setresuid(who, who, who)
            answer = what(RulesByWarden())
        except Exception as error:
            answer = f"{{type(error).__name__}}: {{error}}"
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as end:
        return json.loads(end.read())
def held(*where, who=user):
    return Table(chains=(Chain(user=who, allowed=tuple(where)),))
def both(who=user):
    return [tried(who, address) for address in ports]
said = []
try:
    running = warden()
"""
_END = """
finally:
    running.terminate()
    running.wait(60)
print(json.dumps(said))
"""


def asked(program: str) -> list[Any]:
    indented = "".join(f"    {line}\n" for line in program.strip().splitlines())
    with open_to_all() as root:
        told = apart(_BEGIN + indented + _END, root)
    assert isinstance(told, list)
    assert told[0] == _BEGINS.format(root)
    return told[1:]


@needs_rules
def test_a_daemon_that_is_not_root_has_its_apps_held_and_is_told_of_changes() -> None:
    found = asked(
        """
one, two = (("127.0.0.1", ports["127.0.0.1"]),), (("127.0.0.2", ports["127.0.0.2"]),)
said.append(asked(lambda rules: rules.replace(identity, held(*one), "a1")))
said.append(both())
said.append(asked(lambda rules: rules.mark_of(identity)) == ["a1", checksum(held(*one))])
def watches(rules):
    before = rules.generation()
    with rules.watch() as watch:
        rules.change(identity, held(*one), held(*two), "a2")
        select.select([watch], [], [], 10)
        return [watch.recv(100).decode(), rules.generation() > before]
said.append(asked(watches))
said.append(both())
said.append(nftables.tables())
said.append(asked(lambda rules: holds_builds()))
running.kill(); running.wait(60)
said.append(asked(lambda rules: rules.generation()).partition(":")[0])
said.append(both())
running = warden()
said.append(asked(lambda rules: rules.mark_of(identity))[0])
said.append(asked(lambda rules: rules.replace(identity, Table(), "")))
said.append(nftables.tables())
"""
    )
    refused = "ConnectionRefusedError"
    assert found.pop(6) is True
    assert found.pop(6) in (refused, "ConnectionResetError")  # its last process is about to end
    assert found == [
        None, ["through", refused], True, ["changed", True], [refused, "through"],
        [f"reconciler-{_DAEMON}-0123456789abcdef"], [refused, "through"], "a2", None, [],
    ]  # fmt: skip


@needs_rules
def test_no_user_but_apps_and_the_daemon_is_held_by_what_a_daemon_asks_for() -> None:
    found = asked(
        """
replace("reconciler-a", Table(others=frozenset({other})), "root's")
for who in (0, daemon, 69_999, 80_000):
    said.append(asked(lambda rules, who=who: rules.replace(identity, held(who=who), "a1")))
said.append(asked(lambda rules: rules.replace("a", held(), "a1")))
said.append(asked(lambda rules: rules.replace(identity, held(), "a1"), who=user))
said.append(asked(lambda rules: rules.replace(identity, held(), "a1"), who=0))
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40999")
every = frozenset(("", port) for port in range(40_000, 41_000))
said.append(asked(lambda rules: rules.replace(identity, Table(listeners=every, others=frozenset({user})), "a1")))
said.append([both(who) for who in (0, other, user, daemon)])
many = frozenset(("", port) for port in range(20_001))
said.append(asked(lambda rules: rules.replace(identity, Table(places=many), "a1")))
for number in range(20):
    answer = asked(lambda rules: rules.replace(f"{number:016}", held(), "a1"))
said.append([answer, len(nftables.tables())])
said.append(mark_of("reconciler-a")[0])
"""
    )
    no_users, (name, stranger, root, full, reached, long, (last, tables), mark) = found[:4], found[4:]
    assert [re.search(r"\d+ is none of 70000 to 79999", str(each)) is not None for each in no_users] == [True] * 4
    assert str(name) == "OSError: [Errno 22] the warden refuses: it is no id of a state directory"
    assert str(stranger).startswith("PermissionError")
    assert "only the daemon's user may ask" in str(root)
    assert full is None
    assert str(long).endswith("it has more than 20000 places and users")
    assert reached == [["through"] * 2] * 3 + [["ConnectionRefusedError"] * 2]
    assert (str(last).endswith("has 16 tables"), tables, mark) == (True, 17, "root's")


@needs_rules
def test_no_bytes_end_it_and_none_change_a_table_of_others() -> None:
    found = asked(
        """
import random, socket as sockets
chance = random.Random(7)
replace("reconciler-a", Table(others=frozenset({other})), "root's")
words = ["do", "replace", "change", "mark", "generation", "watch", "id", identity, "table", "chains", "others", 0,
         71000, {}, [], None, "before", "after", "mark", "a1", "user", "allowed", 1e308, -1, True,
         "127.0.0.0/8", "::", 80]
def value(depth):
    kind = chance.randrange(4 if depth else 1)
    if kind == 1:
        return [value(depth - 1) for _ in range(chance.randrange(4))]
    if kind > 1:
        return {str(chance.choice(words)): value(depth - 1) for _ in range(chance.randrange(5))}
    return chance.choice(words)
def send(place, parts):
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET) as link:
        link.settimeout(10)
        link.connect(place)
        try:
            for part in parts:
                link.send(part)
            link.shutdown(sockets.SHUT_WR)
            link.recv(4096)
        except OSError:
            pass
def hostile(rules):
    place = str(root / "socket-rules")
    for _ in range(150):
        asks = {"do": chance.choice(["replace", "change", "mark", "generation", "watch"]), "id": identity, "mark": "a1"}
        asks |= {key: value(4) for key in ("table", "before", "after")} | {str(chance.choice(words)): value(2)}
        send(place, [json.dumps(asks).encode()])
        send(place, [chance.randbytes(chance.randrange(300)) for _ in range(chance.randrange(4))])
    send(place, [b"[" * 60000] * 3)
    send(place, [b'{"do":"' + b"x" * 60000] * 90)
    return rules.generation() > 0
said.append(asked(hostile))
said.append([mark_of("reconciler-a")[0], sorted({each.rpartition("-")[0] for each in nftables.tables()})])
said.append(running.poll())
"""
    )
    assert found[0] is True
    mark, names = found[1]
    assert mark == "root's"
    assert {*names} <= {"reconciler", f"reconciler-{_DAEMON}"}
    assert found[2] is None


@needs_rules
def test_a_killed_process_of_rules_ends_the_warden_and_the_other_way_round() -> None:
    found = asked(
        """
def ruling():
    return int(Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text())
def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith(("CapPrm", "CapEff", "CapBnd", "NoNewPrivs"))]
child = ruling()
said.append(status(child))
os.kill(child, signal.SIGKILL)
said.append(running.wait(60))
running = warden()
child = os.pidfd_open(ruling())
running.kill()
said.append(len(select.select([child], [], [], 20)[0]))
running = warden()
"""
    )
    net_admin = f"{1 << 12:016x}"
    assert found[0] == [net_admin, net_admin, "0" * 16, "1"]
    assert found[1] == 1
    assert found[2] == 1


_NUMBERS = st.integers(-5, 1 << 33)
_PLACES = st.lists(st.tuples(st.sampled_from(["", "127.0.0.1", "x"]), _NUMBERS))
_CHAIN = st.fixed_dictionaries({"user": _NUMBERS, "allowed": st.just([]), "never": st.just([])})
_TABLES = st.fixed_dictionaries({
    "chains": st.lists(_CHAIN, max_size=3),
    "others": st.lists(_NUMBERS, max_size=3),
    "own": st.lists(st.tuples(_NUMBERS, st.sampled_from(["", "::1"]), _NUMBERS), max_size=3),
    "listeners": _PLACES,
    "places": _PLACES,
    "closed": st.lists(_NUMBERS, max_size=3),
    "beyond": st.lists(st.sampled_from(["169.254.169.254", "x", 7]), max_size=2),
    "never": st.just([]),
})  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=_TABLES)
def test_no_table_has_a_user_but_those_of_apps(data: dict[str, object]) -> None:
    try:
        found = table_of(json.loads(json.dumps(data)), _USERS, _DAEMON)
    except ValueError:
        return
    users = {each.user for each in found.chains} | found.others | {user for user, _, _ in found.own}
    assert users <= {*_USERS}
    assert found.opener == _DAEMON


def test_a_table_that_is_written_is_the_one_that_is_read() -> None:
    table = Table(
        chains=(Chain(user=USER, allowed=(("10.0.0.0/8", 443), ("", 80)), never=(("127.255.83.9/32", 9),)),),
        others=frozenset({USER + 1}),
        listeners=frozenset({("", 8000), ("::1", 8001)}),
        places=frozenset({("127.0.0.1", 8002)}),
        own=frozenset({(USER, "::1", 8001), (USER, "", 8000)}),
        closed=(2019,),
        beyond=("169.254.169.254",),
        never=(("127.255.83.9/32", 9),),
        opener=_DAEMON,
    )
    asked_for = rule_requests.read(written({"table": table}))["table"]
    assert table_of(asked_for, _USERS, _DAEMON) == table


def test_what_runs_with_rights_in_the_warden_is_little() -> None:
    modules = ("cli/warden", "isolation/warden", "isolation/rule_warden", "isolation/rule_requests")
    assert sum(len((REPOSITORY / f"reconciler/{each}.py").read_text().splitlines()) for each in modules) < 500
