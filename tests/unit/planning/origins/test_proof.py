"""The proof of a commit by its apps: it answers for what it changed alone, and for nothing that is not known."""

import pytest

from reconciler.planning.origins.proof import OriginApp, is_good, wanted, why_failed

FAILED = OriginApp(name="shop", revision="2", outcome="failed", rejected="it exited")


@pytest.mark.parametrize(
    ("with_good", "why"),
    [
        ({"shop": "1"}, "shop: it exited"),
        ({}, "shop: it exited"),
        ({"shop": "2"}, ""),
        ({"shop": None}, ""),
        (None, ""),
    ],
    ids=["changed", "new", "unchanged", "not known of the app", "not known"],
)
def test_a_commit_fails_by_revisions_that_it_surely_brought(with_good: dict[str, str | None] | None, why: str) -> None:
    assert why_failed([FAILED], with_good) == why


def test_what_cannot_be_built_or_read_yet_is_no_failure_of_a_commit() -> None:
    unbuilt = OriginApp(name="shop", revision="2", outcome="failed")
    unread = OriginApp(name="blog", revision=None, outcome="failed", rejected="it exited")
    assert why_failed([unbuilt, unread], {"shop": "1", "blog": "1"}) == ""


@pytest.mark.parametrize("outcome", ["up-to-date", "held"])
def test_a_commit_is_good_with_apps_that_are_up_to_date_or_stopped_by_an_operator(outcome: str) -> None:
    assert is_good([OriginApp(name="shop", revision="2", outcome=outcome)], None)  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", ["under-way", "on-probation", "failed", "refused"])
def test_a_commit_is_good_in_spite_of_an_app_only_if_it_surely_left_that_alone(outcome: str) -> None:
    app = OriginApp(name="shop", revision="2", outcome=outcome)  # type: ignore[arg-type]
    unread = OriginApp(name="shop", revision=None, outcome=outcome)  # type: ignore[arg-type]
    assert is_good([app], {"shop": "2"})
    assert not is_good([app], {"shop": "1"})
    assert not is_good([app], None)
    assert not is_good([unread], wanted([unread]))
