"""Which commits are judged is decided by the whole history, and a part of it gives the same answer or none."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.origins.history import HistoryMissing, commits_to_judge, descends

LINE = {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}
# c merges s, which left the branch before b was accepted.
MERGE = {"a": (), "b": ("a",), "s": ("a",), "t": ("s",), "c": ("b", "t"), "d": ("c",)}


def test_a_commit_descends_from_itself_and_from_its_ancestors_only() -> None:
    assert descends(LINE, "d", "d")
    assert descends(LINE, "d", "a")
    assert not descends(LINE, "a", "d")
    assert descends(MERGE, "d", "t")
    assert not descends(MERGE, "t", "b")


def test_a_force_push_is_no_descent() -> None:
    graph = {**LINE, "amended": ("c",), "other": ()}
    assert not descends(graph, "amended", "d")
    assert not descends(graph, "other", "d")
    assert not descends(graph, "b", "d")


def test_every_commit_since_the_accepted_one_is_judged_the_oldest_first() -> None:
    assert commits_to_judge(LINE, "d", "b", "every") == ("c", "d")


def test_the_parents_of_a_merge_are_judged_too() -> None:
    assert commits_to_judge(MERGE, "d", "b", "every") == ("s", "t", "c", "d")
    assert commits_to_judge(MERGE, "c", "t", "every") == ("b", "c")


def test_the_rule_of_peers_would_look_at_the_merge_only() -> None:
    assert commits_to_judge(MERGE, "c", "b", "head") == ("c",)


def test_the_parents_of_an_octopus_are_all_judged() -> None:
    graph = {"a": (), "x": ("a",), "y": ("a",), "z": ("a",), "m": ("a", "x", "y", "z")}
    assert commits_to_judge(graph, "m", "a", "every") == ("x", "y", "z", "m")


def test_the_head_itself_is_judged_again_when_it_is_the_accepted_one() -> None:
    assert commits_to_judge(LINE, "d", "d", "every") == ("d",)
    assert commits_to_judge(LINE, "d", "d", "head") == ("d",)


def test_trust_begins_with_the_head_where_nothing_was_accepted() -> None:
    assert commits_to_judge(LINE, "d", None, "every") == ("d",)


@pytest.mark.parametrize("signed", ["tag", "no"])
def test_no_commit_is_judged_where_none_is_signed(signed: str) -> None:
    assert commits_to_judge(LINE, "d", "b", signed) == ()  # type: ignore[arg-type]


def test_after_a_fetch_of_one_commit_the_next_ones_are_judged_without_the_rest() -> None:
    shallow = {"b": ("a",), "c": ("b",), "d": ("c",)}
    assert descends(shallow, "d", "b")
    assert commits_to_judge(shallow, "d", "b", "every") == ("c", "d")


def test_a_merge_of_what_left_before_the_accepted_commit_needs_more_history() -> None:
    # The server sends s and all before it, but not p: that a is an ancestor of b too is not known here.
    full = {**MERGE, "b": ("p",), "p": ("a",)}
    shallow = {commit: parents for commit, parents in full.items() if commit != "p"}
    assert commits_to_judge(full, "d", "b", "every") == ("s", "t", "c", "d")
    with pytest.raises(HistoryMissing, match="from commit p on was not fetched"):
        commits_to_judge(shallow, "d", "b", "every")


def test_what_was_not_fetched_is_no_other_history() -> None:
    with pytest.raises(HistoryMissing, match="from commit a on was not fetched"):
        descends({"d": ("c",), "c": ("b",), "b": ("a",)}, "d", "first")


def test_a_rewind_to_before_the_first_fetch_is_seen() -> None:
    assert not descends({"c": ("b",), "b": ("a",), "a": (), "d": ("c0",)}, "c", "d")


def test_a_long_history_is_no_deep_recursion() -> None:
    graph = {str(number): (str(number - 1),) if number else () for number in range(20_000)}
    assert len(commits_to_judge(graph, "19999", "0", "every")) == 19_999


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Sequence[str]]:
    """A history with merges, octopus merges and criss-cross ones, and several beginnings."""
    number = draw(st.integers(2, 14))
    graph: dict[str, Sequence[str]] = {}
    for each in range(number):
        parents = draw(st.lists(st.integers(0, each - 1), unique=True, max_size=3)) if each else []
        graph[f"c{each:02}"] = tuple(f"c{parent:02}" for parent in parents)
    return graph


def ancestors(graph: Mapping[str, Sequence[str]], commit: str) -> set[str]:
    """A commit and all before it, by the definition."""
    return {commit}.union(*(ancestors(graph, parent) for parent in graph[commit]))


@given(histories(), st.data())
def test_what_is_judged_is_what_the_definition_says(graph: dict[str, Sequence[str]], data: st.DataObject) -> None:
    head = data.draw(st.sampled_from(sorted(graph)))
    since = data.draw(st.sampled_from(sorted(ancestors(graph, head))))
    judged = commits_to_judge(graph, head, since, "every")
    assert set(judged) == (ancestors(graph, head) - ancestors(graph, since)) | {head}
    assert len(set(judged)) == len(judged)
    for place, commit in enumerate(judged):
        assert not set(graph[commit]) & set(judged[place:])
    for other in graph:
        assert descends(graph, head, other) == (other in ancestors(graph, head))


@given(histories(), st.data())
def test_the_answer_is_the_same_shallow_and_full(graph: dict[str, Sequence[str]], data: st.DataObject) -> None:
    head = data.draw(st.sampled_from(sorted(graph)))
    other = data.draw(st.sampled_from(sorted(graph)))
    cut = data.draw(st.sets(st.sampled_from(sorted(graph))))
    part = {commit: parents for commit, parents in graph.items() if commit not in cut - {head, other}}
    with suppress(HistoryMissing):
        assert descends(part, head, other) == descends(graph, head, other)
    if other in ancestors(graph, head):
        with suppress(HistoryMissing):
            assert commits_to_judge(part, head, other, "every") == commits_to_judge(graph, head, other, "every")


@given(histories(), st.data())
def test_what_is_accepted_only_ever_moves_to_a_descendant(graph: dict[str, Sequence[str]], data: st.DataObject) -> None:
    """Whatever heads a forge shows, in whatever order, nothing that was accepted is left again."""
    accepted: str | None = None
    seen: list[str] = []
    for head in data.draw(st.lists(st.sampled_from(sorted(graph)), max_size=8)):
        if accepted is None or descends(graph, head, accepted):
            judged = commits_to_judge(graph, head, accepted, "every")
            assert head in judged
            seen += judged
            accepted = head
        assert accepted is not None
        assert set(seen) <= ancestors(graph, accepted)
