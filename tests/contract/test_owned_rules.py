"""Rules that one daemon owns: no other program changes them while it runs, and they outlive it."""

from pathlib import Path

import pytest

from tests.contract.test_network_rules import LACKS, apart

pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")

_BEGIN = """
from reconciler.linux.filter_expressions import text
from reconciler.linux.nftables import OwnedTables
shop = Held(user=user, places=(place_of("127.0.0.1"),), listens=(("127.0.0.1", 8001),))
def rules_of(kernel):
    return NetworkRules("reconciler-a", root / "reconciler-a", lambda _: None, resolve=lambda _: [], kernel=kernel)
def asked(kind, content, link=None):  # as another program does
    with nftables._opened() as link:
        try:
            nftables._commit(link, [(kind, content, 0)])
        except OSError as error:
            return type(error).__name__
def life(before="", kernel=OwnedTables, what=lambda rules: rules.admit("shop", shop)):
    if not (child := os.fork()):
        ours = [(nftables, each) for each in ("_commit", "contents", "made")]
        for where, name in ((network_rules, "replace_file"), *ours):
            if name == before:
                setattr(where, name, lambda *_, **__: os._exit(7))
        what(rules_of(kernel()))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
held = lambda: [tried(user, address) for address in ports]
owner = OwnedTables()
owner.replace("probe", Table(others=frozenset({other})), "m")
knows_owners = asked(2, text(1, "probe")) == "PermissionError"
owner.replace("probe", Table(), "")
"""


def test_no_other_program_changes_what_a_daemon_owns_nor_flushes_it(tmp_path: Path) -> None:
    knows, said = apart(
        _BEGIN
        + """
rules = rules_of(OwnedTables())
rules.admit("shop", shop)
said = [asked(2, text(1, "reconciler-a")), asked(14, text(1, "reconciler-a") + text(2, "users")), asked(2, b""), held()]
print(json.dumps([knows_owners, said]))
""",
        tmp_path,
    )
    if knows:  # since Linux 6.9
        assert said == ["PermissionError", "PermissionError", None, ["through", "ConnectionRefusedError"]]
    else:
        assert said[-1] == ["through", "through"]


def test_rules_outlive_their_owner_and_the_next_takes_them_over(tmp_path: Path) -> None:
    knows, said = apart(
        _BEGIN
        + """
said = [life(), held(), mark_of("reconciler-a")[0]]
after, numbers = generation(), len(os.listdir("/proc/self/fd"))
rules = rules_of(OwnedTables())
rules.admit("shop", shop)
said += [held(), mark_of("reconciler-a")[0] == said[2], generation() - after, asked(2, text(1, "reconciler-a"))]
rules.want({})
rules.apply()
left = len(os.listdir("/proc/self/fd")) - numbers
print(json.dumps([knows_owners, [*said[:2], *said[3:], nftables.tables(), left]]))
""",
        tmp_path,
    )
    is_held = ["through", "ConnectionRefusedError"]
    assert said[:4] == [0, is_held, is_held, True]
    assert said[4:] == ([1, "PermissionError", [], 0] if knows else [1, None, [], 0])


def test_a_daemon_killed_at_any_step_leaves_rules_that_the_next_takes_over_and_removes(tmp_path: Path) -> None:
    said = apart(
        _BEGIN
        + """
def remove(rules):
    rules.want({})
    rules.apply()
said = []
for step in ("replace_file", "made", "contents", "_commit"):
    said.append([life(step), life(), held()])  # the first rules of all
    said.append([life(step), life(), held()])  # as it finds those of another
    said.append([life(step, what=remove), life(what=remove), nftables.tables()])
print(json.dumps(said))
""",
        tmp_path,
    )
    is_held = ["through", "ConnectionRefusedError"]
    assert [each[1:] for each in said[0::3]] == [[0, is_held]] * 4
    assert [each[1:] for each in said[1::3]] == [[0, is_held]] * 4
    assert [each[1:] for each in said[2::3]] == [[0, []]] * 4


def test_rules_without_an_owner_are_replaced_by_those_of_one_with_no_moment_between(tmp_path: Path) -> None:
    knows, said = apart(
        _BEGIN
        + """
said = [life(kernel=lambda: nftables), asked(15, text(1, "none")), held()]
with nftables.watch() as watch:
    rules = rules_of(OwnedTables())
    rules.admit("shop", shop)
said += [held(), asked(2, text(1, "reconciler-a"))]
print(json.dumps([knows_owners, said]))
""",
        tmp_path,
    )
    is_held = ["through", "ConnectionRefusedError"]
    assert [said[0], *said[2:4]] == [0, is_held, is_held]
    assert not knows or said[4] == "PermissionError"


def test_elements_that_another_program_deletes_come_back(tmp_path: Path) -> None:
    said = apart(
        _BEGIN
        + """
async def main():
    rules = rules_of(nftables)
    rules.want({"shop": shop}, frozenset({("127.0.0.2", 8002)}))
    task = asyncio.create_task(rules.run(lambda: None))
    await rules.looked_up()
    was, said = mark_of("reconciler-a"), []
    for name in ("users", "listeners-4", "places-4", "own-4", "beyond-6"):
        said.append([asked(14, text(1, "reconciler-a") + text(2, name)), mark_of("reconciler-a") == was])
        while mark_of("reconciler-a") != was:
            await asyncio.sleep(0.01)
        said.append(held())
    task.cancel()
    return said
print(json.dumps(asyncio.run(main())))
""",
        tmp_path,
    )
    assert said[0::2] == [[None, False]] * 5
    assert said[1::2] == [["through", "ConnectionRefusedError"]] * 5
