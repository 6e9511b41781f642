"""A commit that takes many apps away is held unless its author declares that in a trailer."""

import pytest

from reconciler.planning.origins.removals import held_removals

FIVE = ["a1", "a2", "a3", "a4", "a5"]


@pytest.mark.parametrize(
    ("before", "after", "messages"),
    [
        (FIVE, FIVE[:3], []),
        (FIVE[:4], FIVE[:1], []),
        (FIVE, FIVE[:2], ["Go\n\nReconciler-Removes: a3, a4, a5"]),
        (FIVE, FIVE[:2], ["Go\n\nReconciler-Removes: 3 apps", "Another"]),
        (FIVE, FIVE[:2], ["Go\n\nReconciler-Removes: a3", "Go\n\nReconciler-Removes: a4, a5"]),
        (["service db"], [], ["Go\n\nReconciler-Removes: service db"]),
        ([], [], []),
        (FIVE, [*FIVE, "new"], []),
    ],
)
def test_few_and_declared_removals_pass(before: list[str], after: list[str], messages: list[str]) -> None:
    assert held_removals(before, after, messages) == ""


@pytest.mark.parametrize(
    ("before", "after", "messages"),
    [
        (FIVE, FIVE[:2], []),
        (FIVE, FIVE[:2], ["Go\n\nReconciler-Removes: 2 apps"]),
        (FIVE, FIVE[:2], ["Go\n\nReconciler-Removes: a3, a4"]),
        (FIVE[:1], [], []),
    ],
)
def test_many_and_all_are_held(before: list[str], after: list[str], messages: list[str]) -> None:
    assert "'Reconciler-Removes: " in held_removals(before, after, messages)


def test_it_is_said_what_would_be_removed_and_what_to_do() -> None:
    assert held_removals(FIVE, ["a1"], []) == (
        "it removes 4 of 5 apps and services (a2, a3, a4 and 1 more): declare that in a commit with the trailer"
        " 'Reconciler-Removes: 4 apps', or confirm it with 'reconciler git take'"
    )
