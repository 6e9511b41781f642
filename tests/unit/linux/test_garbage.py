"""Garbage is collected at calm moments only, and what stays is not looked at again."""

import subprocess
import sys

_BEGIN = """
import gc, weakref
from reconciler.linux.garbage import CalmCollections
calm = CalmCollections()
calm.begin()

class Node:
    def __init__(self):
        self.me = self
        self.more = [[], [], []]
"""


def _printed(code: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", _BEGIN + code], capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_what_a_program_has_imported_is_left_out_from_the_beginning() -> None:
    assert int(_printed("print(gc.get_freeze_count())")[0]) > 1_000


def test_the_interpreter_collects_all_objects_no_more_however_many_come() -> None:
    collected = "before = gc.get_stats()[2]['collections']\nkept = [[n] for n in range(1_000_000)]\n"
    assert _printed(f"{collected}print(gc.get_stats()[2]['collections'] - before)") == ["0"]


def test_many_objects_that_stay_are_left_out_unseen() -> None:
    code = (
        "kept = [[n] for n in range(200_000)]\ncalm.collect()\nkept += [[n] for n in range(200_000)]\n"
        "before = gc.get_stats()[2]['collections']\ncalm.collect()\n"
    )
    left_out, collections = _printed(f"{code}print(gc.get_freeze_count(), gc.get_stats()[2]['collections'] - before)")
    assert int(left_out) > 400_000
    assert collections == "0"


def test_cycles_that_outlived_the_younger_collections_are_freed() -> None:
    code = (
        "first = Node()\nkept = [first]\nseen = weakref.ref(first)\nkept += [Node() for _ in range(4_000)]\n"
        "print(seen() is not None)\ndel first\nkept.clear()\nprint(seen() is not None)\ncalm.collect()\nprint(seen())"
    )
    assert _printed(code) == ["True", "True", "None"]


def test_nothing_is_looked_at_while_nothing_new_came_to_stay() -> None:
    code = "calm.collect()\nbefore = gc.get_stats()[2]['collections']\nfor _ in range(9):\n    calm.collect()\n"
    assert _printed(f"{code}print(gc.get_stats()[2]['collections'] - before)") == ["0"]


def test_whether_there_was_anything_is_told() -> None:
    code = "kept = [[n] for n in range(100_000)]\nprint(calm.collect())\nprint(calm.collect())"
    assert _printed(code) == ["True", "False"]


def test_what_was_left_out_and_is_part_of_a_cycle_by_now_is_freed_while_there_are_few_objects_in_all() -> None:
    come_and_gone = (
        "def come():\n    return [[n] for n in range(40_000)]\n"
        "first = Node()\nseen = weakref.ref(first)\nkept = come()\ncalm.collect()\n"
        "print(gc.get_freeze_count() > 40_000)\n"
        "del first, kept\nprint(seen() is not None)\nkept = come()\ncalm.collect()\nprint(seen())"
    )
    assert _printed(come_and_gone) == ["True", "True", "None"]


def test_many_rounds_of_what_comes_and_goes_leave_no_more_behind_than_a_few() -> None:
    code = (
        "left = []\nfor _ in range(60):\n    kept = [Node() for _ in range(2_000)]\n    calm.collect()\n"
        "    kept = None\n    left.append(gc.get_freeze_count())\nprint(max(left))"
    )
    assert int(_printed(code)[0]) < 200_000


def test_cycles_of_very_many_objects_that_come_and_go_leave_no_more_behind_than_a_few_of_them() -> None:
    code = (
        "left = []\nfor _ in range(30):\n    made = [[n] for n in range(140_000)]\n    made.append(made)\n"
        "    calm.collect()\n    made = None\n    calm.collect()\n    left.append(gc.get_freeze_count())\n"
        "print(max(left))"
    )
    assert int(_printed(code)[0]) < 700_000


def test_new_objects_that_came_where_as_many_went_are_collected_before_they_are_very_many() -> None:
    code = (
        "new = lambda: len(gc.get_objects(generation=0))\nkept = [[n] for n in range(20_000)]\ngc.collect()\n"
        "for n in range(20_000):\n    kept[n] = [n]\n"
        "print(new() > 10_000)\ncalm.collect()\nprint(new() < 5_000)"
    )
    assert _printed(code) == ["True", "True"]


def test_new_objects_are_collected_after_so_many_steps() -> None:
    code = (
        "from reconciler.linux.garbage import PacedCollections\n"
        "paced, kept, young = PacedCollections(50), [[n] for n in range(90_000)], []\ngc.collect()\ngc.disable()\n"
        "for _ in range(500):\n    kept[:100] = [[n] for n in range(100)]\n    paced.count()\n"
        "    young.append(len(gc.get_objects(generation=0)))\nprint(max(young))"
    )
    assert int(_printed(code)[0]) < 10_000


def test_nothing_is_collected_while_modules_are_loaded_and_what_they_made_not_afterwards() -> None:
    loaded = """
from reconciler.linux.garbage import uncollected
try:
    with uncollected():
        print(gc.isenabled())
        raise ImportError
except ImportError:
    print(gc.isenabled())
gc.disable()
frozen = gc.get_freeze_count()
with uncollected():
    made = [[n] for n in range(10_000)]
print(gc.isenabled(), gc.get_freeze_count() - frozen >= 10_000)
"""
    assert _printed(loaded) == ["False", "True", "False", "True"]
