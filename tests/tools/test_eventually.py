"""How long a test waits for what must come true."""

import pytest

from tests.support.eventually import eventually, patience


def test_a_busy_host_is_given_as_many_times_longer_as_its_processes_wait_for_each_core() -> None:
    assert [patience(load, 2) for load in (0.0, 1.9, 2.0, 6.0, 24.0, 1200.0)] == [1.0, 1.0, 1.0, 3.0, 12.0, 12.0]


def three_of_five() -> bool:
    raise AssertionError("3 of 5")


def test_what_never_comes_true_is_told_with_the_last_thing_it_said() -> None:
    with pytest.raises(AssertionError, match="not within 0 s: 3 of 5"):
        eventually(three_of_five, 0.0)
