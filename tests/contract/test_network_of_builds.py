"""What builds an isolated app reaches of this host, and of clouds, by rules of the kernel that know it by its group."""

from pathlib import Path

import pytest

from tests.contract.test_network_refusals import _BEGIN
from tests.contract.test_network_rules import LACKS, apart

pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")

_BUILDS = (
    _BEGIN
    + """
def built(group, address, port, kind=socket.SOCK_STREAM):
    def become():
        os.setgroups([os.getgid()])
        os.setresgid(group, group, group)
    return connected(become, address, port, kind)
def building(*listed, of_builds=()):
    places = tuple(map(place_of, listed)) if listed else None
    return Held(user=None, group=user, places=places, of_builds=tuple(map(place_of, of_builds)))
"""
)


def test_what_builds_reaches_nothing_of_this_host_but_what_is_named(tmp_path: Path) -> None:
    found = apart(
        _BUILDS
        + """
app, plain, six, admin = listen("127.0.0.1"), listen("127.0.0.2"), listen("::1"), listen("127.0.0.1", 2019)
own_address("169.254.169.254")
metadata, resolver = listen("169.254.169.254", 80), listen("127.0.0.53", 53)
places = (("127.0.0.1", app), ("127.0.0.2", plain), ("::1", six), ("127.0.0.1", admin), ("169.254.169.254", 80))
said = []
for held in (
    building(), building("all"), building(str(plain)), building("127.0.0.1"), building("169.254.169.254:80"),
    building(of_builds=["127.0.0.2"]), building("0.0.0.0/0"),
):
    replace("reconciler-a", table_of([held], {}, [], frozenset({("127.0.0.1", app)})), "mark")
    said.append([built(user, *place) == "through" for place in places])
    said[-1].append(built(user, "127.0.0.53", 53))
said.append([built(user, "127.0.0.2", 9, socket.SOCK_DGRAM), built(user, "169.254.169.254", 9, socket.SOCK_DGRAM)])
said.append([built(0, *place) == "through" for place in places])  # the daemon itself
said.append([built(other, *place) == "through" for place in places])
said.append(reached(*places))
print(json.dumps(said))
""",
        tmp_path,
    )
    nothing = [False, False, False, False, False, "through"]
    assert found == [
        nothing,
        nothing,
        [False, True, False, False, False, "through"],
        [True, False, False, True, False, "through"],
        [False, False, False, False, True, "through"],
        [False, True, False, False, False, "through"],
        nothing,
        ["PermissionError", "PermissionError"],
        [True] * 5,
        [True] * 5,
        [True] * 5,
    ]


def test_what_builds_as_a_user_of_its_own_is_held_by_its_group(tmp_path: Path) -> None:
    found = apart(
        _BUILDS
        + """
def by_builder(group, *place):
    def become():
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(79991, 79991, 79991)
    return connected(become, *place, socket.SOCK_STREAM) == "through"
app, plain = listen("127.0.0.1"), listen("127.0.0.1")
said, table = [], None
for builders in ((), (79990, 79991)):
    table = table_of([building(str(plain))], {}, [], frozenset(), frozenset(builders))
    replace("reconciler-a", table, "mark")
    said.append([by_builder(user, "127.0.0.1", app), by_builder(user, "127.0.0.1", plain)])
    said[-1] += [by_builder(other, "127.0.0.1", app), mark_of("reconciler-a") == ("mark", checksum(table))]
    said[-1] += [built(user, "127.0.0.1", plain), built(user, "127.0.0.1", app)]
one = table_of([building(str(plain))], {}, [], frozenset(), frozenset({79990}))
replace("reconciler-a", one, "one")
said.append(by_builder(user, "127.0.0.1", app))
change("reconciler-a", one, table, "two")  # a set alone, no other rule
said += [by_builder(user, "127.0.0.1", app), one.fixed == table.fixed]
said.append(mark_of("reconciler-a") == ("two", checksum(table)))
print(json.dumps(said))
""",
        tmp_path,
    )
    refused = ["through", "ConnectionRefusedError"]
    assert found[:2] == [[True, True, True, True, *refused], [False, True, True, True, *refused]]
    assert found[2:] == [True, False, True, True]


def test_what_leaves_this_host_is_not_refused_and_a_change_keeps_the_rest_of_the_table(tmp_path: Path) -> None:
    found = apart(
        _BUILDS
        + """
import fcntl, struct
tap = os.open("/dev/net/tun", os.O_RDWR) if os.path.exists("/dev/net/tun") else None
said = []
if tap is not None:
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"away", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    with socket.socket() as own:
        for asked, address in ((0x8916, "192.0.2.1"), (0x891C, "255.255.255.0")):  # SIOCSIFADDR, SIOCSIFNETMASK
            fcntl.ioctl(own, asked, struct.pack("16sHH4s8x", b"away", socket.AF_INET, 0, socket.inet_aton(address)))
        fcntl.ioctl(own, 0x8914, struct.pack("16sh14x", b"away", 1))
first = table_of([building()], {}, [], frozenset())
second = table_of([building("127.0.0.1"), Held(user=other, group=other, places=None)], {}, [], frozenset())
replace("reconciler-a", first, "first")
if tap is not None:
    said += [built(user, "192.0.2.9", 9, socket.SOCK_DGRAM), built(user, "192.0.2.1", 9, socket.SOCK_DGRAM)]
plain = listen("127.0.0.1")
change("reconciler-a", first, second, "second")
said += [built(user, "127.0.0.1", plain), built(other, "127.0.0.1", plain), mark_of("reconciler-a")[0]]
said += [mark_of("reconciler-a")[1] == checksum(second)]
change("reconciler-a", second, first, "first")
said += [built(user, "127.0.0.1", plain), built(other, "127.0.0.1", plain)]
print(json.dumps(said))
""",
        tmp_path,
    )
    refused = "ConnectionRefusedError"
    rest = ["through", refused, "second", True, refused, "through"]
    assert found[-6:] == rest
    assert found[:-6] in ([], ["through", "PermissionError"])
