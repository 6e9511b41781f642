"""What rules of the kernel refuse to every user of a table unless it is named, in a network of the test's own."""

from pathlib import Path

import pytest

from tests.contract.test_network_rules import LACKS, apart

pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")

_BEGIN = """
from reconciler.host.network_table import table_of
from reconciler.planning.isolation.refused import METADATA
def own_address(text):  # of the loopback interface: nothing leaves this network
    with socket.socket(socket.AF_INET6 if ":" in text else socket.AF_INET) as control:
        if ":" in text:
            asked = struct.pack("=16sIi", socket.inet_pton(socket.AF_INET6, text), 128, 1)
        else:
            lo = f"lo:{text.rpartition('.')[2]}".encode()
            asked = struct.pack("16sHH4s8x", lo, socket.AF_INET, 0, socket.inet_aton(text))
        fcntl.ioctl(control, 0x8916, asked)  # SIOCSIFADDR
def listen(host, port=0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.create_server((host, port), family=family)
    listening[found.getsockname()] = found
    return found.getsockname()[1]
def reached(*places, who=user):
    return [tried(who, *place) == "through" for place in places]
def held(own=(), listed=None, servers=()):
    places = None if listed is None else tuple(map(place_of, listed))
    return Held(user=user, places=places, listens=tuple(own), servers=tuple(servers))
"""


def test_a_user_reaches_its_own_port_and_those_of_no_other_app_but_all_else(tmp_path: Path) -> None:
    found = apart(
        _BEGIN
        + """
own, other, plain = listen("127.0.0.1"), listen("127.0.0.1"), listen("127.0.0.1")
wide, elsewhere, six = listen("0.0.0.0"), listen("127.0.0.2", own), listen("::1")
apps = {("127.0.0.1", own), ("127.0.0.1", other), ("", wide), ("127.0.0.2", own), ("::1", six)}
listen("127.0.0.3", other)
table = table_of([held([("127.0.0.1", own)])], {}, [], frozenset(apps))
replace("reconciler-a", table, "mark")
said = []
for who in (user, 70999):
    said.append(reached(("127.0.0.1", own), ("127.0.0.1", plain), ("127.0.0.3", other), who=who))
    places = (
        ("127.0.0.1", other), ("127.0.0.1", wide), ("127.0.0.9", wide), ("0.0.0.0", other), ("127.0.0.2", own),
        ("::1", six), ("::ffff:127.0.0.1", other),
    )
    said.append(reached(*places, who=who))
said.append(tried(user, "127.0.0.1", other, socket.SOCK_DGRAM))
print(json.dumps(said))
""",
        tmp_path,
    )
    assert found == [[True] * 3, [False] * 7, [True] * 3, [True] * 7, "through"]


def test_no_metadata_of_a_cloud_answers_but_its_resolver_and_a_list_has_to_name_it(tmp_path: Path) -> None:
    found = apart(
        _BEGIN
        + """
for address in METADATA:
    own_address(address)
time.sleep(2.5)  # an address of IPv6 is looked for first
for port in (80, 53):
    for address in METADATA:
        if not address.startswith("fe80"):  # has to be reached by an interface
            listen(address, port)
some = [address for address in METADATA if not address.startswith("fe80")]
def tried_all(port, kind=socket.SOCK_STREAM):
    return sorted({tried(user, address, port, kind) for address in some})
said = {}
lists = {"none": None, "port": ["80"], "any": ["0.0.0.0/0", "::/0"], "all": ["all"], "one": ["all", "169.254.169.254"]}
for name, listed in lists.items():
    replace("reconciler-a", table_of([held(listed=listed)], {}, [], frozenset()), "mark")
    said[name] = [tried_all(80), tried(user, "169.254.169.254", 80)]
    if name in ("none", "all"):
        said[name] += [tried_all(53), tried_all(80, socket.SOCK_DGRAM)]
print(json.dumps(said))
""",
        tmp_path,
    )
    refused = ["ConnectionRefusedError"]
    held = [refused, "ConnectionRefusedError"]
    free = [["through"], ["PermissionError"]]
    assert found == {
        "none": held + free,
        "port": held,
        "any": held,
        "all": held + free,
        "one": [["ConnectionRefusedError", "through"], "through"],
    }


def test_what_a_list_names_is_reached_and_so_are_the_servers_that_an_app_binds(tmp_path: Path) -> None:
    found = apart(
        _BEGIN
        + """
one, two, plain, admin = listen("127.0.0.1"), listen("127.0.0.1"), listen("127.0.0.1"), listen("127.0.0.1", 2019)
said = []
for listed, servers in ((None, ()), (["all"], ()), (["all", f"127.0.0.1:{one}"], ()), (["all", str(two), "2019"], ()),
                        (None, (one, 2019)), ([str(one)], ())):
    table = table_of([held(listed=listed, servers=servers)], {}, [], frozenset({("127.0.0.1", one), ("", two)}))
    replace("reconciler-a", table, "mark")
    said.append(reached(*(("127.0.0.1", port) for port in (plain, one, two, admin))))
said.append(tried(user, "127.0.0.1", 2019, socket.SOCK_DGRAM))
print(json.dumps(said))
""",
        tmp_path,
    )
    assert found == [
        [True, False, False, False],
        [True, False, False, False],
        [True, True, False, False],
        [True, False, True, True],
        [True, True, False, True],
        [False, True, False, False],
        "PermissionError",
    ]


def test_a_port_that_comes_or_goes_changes_sets_alone_in_one_transaction(tmp_path: Path) -> None:
    found = apart(
        _BEGIN
        + """
one, two = listen("127.0.0.1"), listen("127.0.0.1")
first = table_of([held([("127.0.0.1", one)])], {}, [], frozenset({("127.0.0.1", two)}))
second = table_of(
    [held([("127.0.0.1", one)]), Held(user=other, places=None, listens=(("127.0.0.1", two),))],
    {}, [], frozenset({("127.0.0.1", one)}),
)
replace("reconciler-a", first, "first")
said = [reached(("127.0.0.1", one), ("127.0.0.1", two)), reached(("127.0.0.1", one), who=other)]
before = generation()
change("reconciler-a", first, second, "second")
said += [reached(("127.0.0.1", one), ("127.0.0.1", two)), reached(("127.0.0.1", one), ("127.0.0.1", two), who=other)]
said += [generation() - before, mark_of("reconciler-a") == ("second", checksum(second))]
for renew in (False, True):
    change("reconciler-a", second, second, f"of {renew}", renew=renew)
    said += [mark_of("reconciler-a")[0]]
change("reconciler-a", second, first, "first")
said += [reached(("127.0.0.1", one), ("127.0.0.1", two)), reached(("127.0.0.1", one), who=other)]
try:
    change("reconciler-b", first, second, "second")
except OSError as error:
    said += [type(error).__name__]
print(json.dumps(said))
""",
        tmp_path,
    )
    was = [[True, False], [True]]
    assert found == [*was, [True, True], [False, True], 1, True, "of False", "of True", *was, "FileNotFoundError"]


def test_ports_of_apps_follow_without_another_table_and_come_back_with_one(tmp_path: Path) -> None:
    found = apart(
        _BEGIN
        + """
one, two = listen("127.0.0.1"), listen("127.0.0.1")
asked = []
change_of, replace_of = nftables.change, nftables.replace
nftables.change = lambda *given, **more: (asked.append("change"), change_of(*given, **more))
nftables.replace = lambda *given: (asked.append("replace"), replace_of(*given))
def rules_of():
    return NetworkRules("reconciler-a", root / "marker", asked.append, resolve=lambda _: [])
async def until(check):
    while not check():
        await asyncio.sleep(0.01)
async def main():
    said, rules = [], rules_of()
    shop, blog = held([("127.0.0.1", one)]), Held(user=other, places=None)
    rules.want({"shop": shop}, frozenset({("127.0.0.1", one)}))
    task = asyncio.create_task(rules.run(lambda: None))
    await rules.looked_up()
    said.append(reached(("127.0.0.1", one), ("127.0.0.1", two)))
    rules.want({"shop": shop}, frozenset({("127.0.0.1", one), ("127.0.0.1", two)}))
    await rules.looked_up()
    said.append(reached(("127.0.0.1", one), ("127.0.0.1", two)))
    rules.admit("blog", blog)
    said.append([*reached(("127.0.0.1", one), ("127.0.0.1", two), who=other), *asked])
    replace_of("reconciler-a", Table(), "")
    await until(lambda: mark_of("reconciler-a")[0])
    said.append(reached(("127.0.0.1", two)))
    asked.clear()
    later = rules_of()
    later.want({"shop": shop, "blog": blog}, frozenset({("127.0.0.1", one), ("127.0.0.1", two)}))
    later.admit("shop", shop)
    later.want({"shop": shop}, frozenset({("127.0.0.1", two)}))
    later.admit("shop", shop)
    said.append([*asked])
    task.cancel()
    return said
print(json.dumps(asyncio.run(main())))
""",
        tmp_path,
    )
    assert found == [[True, True], [True, False], [False, False, "replace", "change", "change"], [False], ["change"]]
