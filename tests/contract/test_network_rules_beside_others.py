"""Rules of where apps connect to, beside those of others: translated addresses, and a firewall that is loaded again."""

from pathlib import Path

import pytest

from tests.contract.test_network_rules import _RULES, LACKS, apart

pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")

# A table of the host's that leads one address to another, as those of containers and clusters do.
_TRANSLATED = """
def nested(kind, *parts):
    return attribute(kind | 0x8000, b"".join(parts))
def attribute(kind, content):
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)
def number(kind, value):
    return attribute(kind, struct.pack(">i", value))
def expression(name, *parts):
    return nested(1, attribute(1, name + b"\\0"), nested(2, *parts))
def translate(before, after):
    def compared(value):
        return expression(b"cmp", number(1, 1), number(2, 0), nested(3, attribute(1, value)))
    table = attribute(1, b"hostnat\\0")
    rule = (
        expression(b"meta", number(2, 15), number(1, 1)), compared(b"\\2"),
        expression(b"payload", number(1, 1), number(2, 1), number(3, 16), number(4, 4)),
        compared(socket.inet_aton(before)),
        expression(b"immediate", number(1, 1), nested(2, attribute(1, socket.inet_aton(after)))),
        expression(b"nat", number(1, 1), number(2, 2), number(3, 1)),
    )
    hook = nested(4, number(1, 3), number(2, -100))
    asked = [
        (16, b"\\0\\0\\0\\x0a", 1), (10 << 8, b"\\1\\0\\0\\0" + table, 0x401),
        (10 << 8 | 3, b"\\1\\0\\0\\0" + table + attribute(3, b"out\\0") + hook + attribute(7, b"nat\\0"), 0x401),
        (10 << 8 | 6, b"\\1\\0\\0\\0" + table + attribute(2, b"out\\0") + nested(4, *rule), 0xC05),
        (17, b"\\0\\0\\0\\x0a", 1),
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as link:
        heads = (struct.pack("=IHHII", 16 + len(said), kind, flags, 0, 0) for kind, said, flags in asked)
        link.send(b"".join(head + said for head, (_, said, _) in zip(heads, asked)))
        kind, error = struct.unpack_from("=4xH10xi", link.recv(1 << 16))
        assert (kind, error) == (2, 0), os.strerror(-error)
"""


def test_an_app_connects_to_the_address_that_its_list_has_wherever_the_host_leads_that(tmp_path: Path) -> None:
    found = apart(
        _RULES
        + _TRANSLATED
        + """
translate("127.0.0.77", "127.0.0.2")
port, said = ports["127.0.0.2"], [tried(other, "127.0.0.77", ports["127.0.0.2"])]
async def main():
    rules = rules_of()
    for listed in ("127.0.0.77", "127.0.0.2"):
        rules.admit("shop", Held(user=user, places=(place_of(listed),)))
        said.append([tried(user, each, port) for each in ("127.0.0.77", "127.0.0.2")])
asyncio.run(main())
print(json.dumps(said))
""",
        tmp_path,
    )
    listed, other = "through", "ConnectionRefusedError"
    assert found == ["through", [listed, other], [other, listed]]


def test_the_list_of_one_app_changes_and_the_rules_of_the_others_stay_where_they_are(tmp_path: Path) -> None:
    found = apart(
        _RULES
        + """
from reconciler.linux.filter_table import checksum
whole, made = nftables.replace, []
nftables.replace = lambda name, table, mark: (made.append(mark), whole(name, table, mark))
def held(*places):
    return Held(user=user, places=tuple(map(place_of, places)))
def said():
    there = mark_of("reconciler-a") == (rules._applied, checksum(rules._table_there))
    return [there, *(tried(who, each) for who in (user, other) for each in ports)]
async def main():
    global rules
    rules, found = rules_of(), []
    blog = Held(user=other, places=(place_of("127.0.0.2"),))
    for wanted in (
        {"shop": held("127.0.0.1")}, {"shop": held("127.0.0.1"), "blog": blog},
        {"shop": held("127.0.0.2"), "blog": blog},
        {"blog": blog}, {"shop": Held(user=user, places=None), "blog": blog}, {"shop": held(), "blog": blog},
    ):
        rules.want(wanted)
        rules.apply()
        found.append(said())
    return [found, len(made)]
print(json.dumps(asyncio.run(main())))
""",
        tmp_path,
    )
    yes, no = "through", "ConnectionRefusedError"
    states, made = found
    assert states == [
        [True, yes, no, yes, yes],
        [True, yes, no, no, yes],
        [True, no, yes, no, yes],
        [True, yes, yes, no, yes],
        [True, yes, yes, no, yes],
        [True, no, no, no, yes],
    ]
    assert made == 1, "the table was made once"
