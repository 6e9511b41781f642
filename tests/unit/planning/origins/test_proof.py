"""The proof of a commit by its apps: it answers for what it changed alone, and for nothing that is not known."""

from dataclasses import replace

import pytest

from reconciler.planning.apps.app import App, Binding
from reconciler.planning.apps.revision import TREE_MARK, Source
from reconciler.planning.origins.proof import OriginApp, asks_the_same, is_good, wanted, why_failed
from reconciler.planning.processes.process import Process

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


def test_a_commit_surely_leaves_an_app_alone_of_which_it_asks_the_same_and_that_reads_nothing_else() -> None:
    app = App(
        name="shop", manifest="fleet/shop.yaml", source=Source(path="/x", pinned=f"{TREE_MARK}2f1e"), address=None
    )
    assert asks_the_same(app, app)
    assert not asks_the_same(app, None)
    assert not asks_the_same(replace(app, env={"A": "b"}), app)
    for other in (
        replace(app, source=Source(path="/x")),
        replace(app, source=Source(path="/x", pinned="a digest of a manifest")),
        replace(app, bindings=(Binding(service="db"),)),
        replace(app, env_files={"KEY": "/x/key"}),
        replace(app, env_lists=("/x/.env",)),
        replace(app, processes=(Process(name="worker", env_files={"KEY": "/x/key"}),)),
    ):
        assert not asks_the_same(other, other)
