"""What all programs share, such as open files: when it is looked at, and which app is ended before there are none."""

import pytest

from reconciler.planning.isolation.host_shares import is_full, largest, look_again_s

MOST = 2_466_174


@pytest.mark.parametrize(
    ("used", "again_s", "full"),
    [(2_450, 5.0, False), (600_000, 1.0, False), (1_470_000, 1.0, False), (MOST, 1.0, True)],
)
def test_it_is_looked_at_sooner_while_it_fills(used: int, again_s: float, full: bool) -> None:
    assert look_again_s(used, MOST) == again_s
    assert is_full(used, MOST) == full


def test_a_host_without_a_bound_is_never_full() -> None:
    assert not is_full(10_000_000, 2**63 - 1)


def test_the_app_with_the_most_is_ended_and_told_what_it_has() -> None:
    text = "its processes have 1,900,000 of the host's 2,466,174 open files"
    assert largest("open files", 2_000_000, MOST, {"shop": 90_000, "blog": 1_900_000}) == ("blog", text)


def test_what_processes_share_is_never_told_as_more_than_is_open() -> None:
    _, text = largest("open files", 1_500_000, MOST, {"blog": 2_700_000})
    assert text == "its processes have 1,500,000 of the host's 2,466,174 open files"


@pytest.mark.parametrize("apps", [{}, {"shop": 90_000, "blog": 200_000}])
def test_no_app_is_ended_for_what_others_have(apps: dict[str, int]) -> None:
    assert largest("open files", 2_400_000, MOST, apps) == ("", "")
