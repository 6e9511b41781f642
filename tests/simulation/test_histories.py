"""Whatever happens, in whatever order: it ends as asked, and what must never happen never does.

Everyday a few hundred histories; RECONCILER_TESTS=nightly tells a hundred thousand. `python -m
tests.simulation.test_histories SEED` tells a single one again.
"""

import os
import sys
from collections.abc import Callable

import pytest

from tests.simulation.history import History
from tests.simulation.hostile import Machine

_CHAPTERS = 10
_EACH = {"nightly": 10_000, "mutants": 6}.get(os.environ.get("RECONCILER_TESTS", ""), 20)
_DEEDS = 25


@pytest.mark.parametrize("chapter", range(_CHAPTERS))
def test_every_history_ends_with_what_was_asked_for(chapter: int) -> None:
    for seed in range(chapter * _EACH, (chapter + 1) * _EACH):
        assert History(seed).check(_DEEDS) > 0


@pytest.mark.parametrize("breaks", [lambda m: m.unstageable, lambda m: m.unstartable], ids=["staging", "starting"])
def test_a_fix_never_waits_for_the_back_off_of_what_it_fixes(breaks: Callable[[Machine], set[str]]) -> None:
    for seed in range(_EACH):
        History(seed, cap_s=3600.0).check_fix(breaks)


def test_a_history_told_twice_is_the_same() -> None:
    twice = [History(7), History(7)]
    for history in twice:
        history.check(_DEEDS)
    assert twice[0].machine.story == twice[1].machine.story


if __name__ == "__main__":
    told = History(int(sys.argv[1]))
    told.check(_DEEDS)
    print("\n".join(told.machine.story))
