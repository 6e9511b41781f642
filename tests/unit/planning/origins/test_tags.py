"""The newest tag is the one with the highest version, and a tag that was accepted is never another commit."""

import pytest

from reconciler.planning.origins.tags import moved, newest

# Each list from the lowest version to the highest.
ORDERS = [
    ["v1.9", "v1.10-alpha", "v1.10-rc1", "v1.10-rc2", "v1.10-rc.10", "v1.10", "v1.10.1", "v2", "v10"],
    ["v2025-12-31", "v2026-01-01", "v2026-11-02", "v2026-11-25"],
    ["v1.2.0-beta.2", "v1.2.0-beta.11", "v1.2.0"],
]


@pytest.mark.parametrize("names", ORDERS)
def test_the_highest_version_is_the_newest_in_whatever_order_tags_are_listed(names: list[str]) -> None:
    for length in range(1, len(names) + 1):
        assert newest(reversed(names[:length]), "v*") == names[length - 1]
        assert newest(names[:length], "v*") == names[length - 1]


def test_only_tags_of_the_pattern_that_have_a_version_are_candidates() -> None:
    names = ["prod-1", "prod-latest", "prod-", "prod", "test-9", "prod-2-eu", "9", "prod-v3"]
    assert newest(names, "prod-*") == "prod-v3"
    assert newest(names, "prod-*-eu") == "prod-2-eu"
    assert newest(names, "stage-*") is None
    assert newest(["prod-" + "9" * 5000], "prod-*") is None


def test_a_pattern_without_a_star_is_the_tag_itself() -> None:
    assert newest(["live", "live-1"], "live") == "live"
    assert newest(["live-1"], "live") is None


def test_a_tag_that_was_accepted_may_not_stand_for_another_commit() -> None:
    assert "tag v1 was moved from commit aaaaaaa to bbbbbbb" in moved("v1", "b" * 40, "v1", "a" * 40)
    assert moved("v2", "b" * 40, "v1", "a" * 40) == ""
    assert moved("v1", "a" * 40, "v1", "a" * 40) == ""
    assert moved("", "b" * 40, "", "a" * 40) == ""
