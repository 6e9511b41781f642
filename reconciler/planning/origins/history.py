"""Decide by the history of a commit whether it may follow another, and which commits have to be judged for it. Pure.

A history may be known in part only, as after a shallow fetch. The answer is then that of the whole history, or there is
none: what was not fetched is never taken for what does not exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

# The parents of each commit that was fetched, as the commit itself names them: fetched or not.
Graph: TypeAlias = Mapping[str, Sequence[str]]

Signed: TypeAlias = Literal["every", "head", "tag", "no"]


class HistoryMissing(Exception):
    """The answer depends on commits that were not fetched, of which `commit` is one."""

    def __init__(self, commit: str) -> None:
        super().__init__(f"the history from commit {commit[:7]} on was not fetched")
        self.commit = commit


def descends(graph: Graph, commit: str, other: str) -> bool:
    """Return whether a commit is another, or descends from it. Raises HistoryMissing."""
    missing = None
    for each in _reachable(graph, commit):
        if each == other:
            return True
        if each not in graph:
            missing = missing or each
    if missing is not None:
        raise HistoryMissing(missing)
    return False


def follows_in_line(graph: Graph, commit: str, other: str) -> bool:
    """Return whether a commit descends from another one by commits of one parent each, all of them in the graph."""
    while commit != other:
        parents = graph.get(commit, ())
        if len(parents) != 1:
            return False
        (commit,) = parents
    return True


def commits_to_judge(graph: Graph, head: str, since: str | None, signed: Signed) -> tuple[str, ...]:
    """Return the commits whose signatures have to be judged before `head` may take effect, the oldest first.

    `since` is the commit that was accepted, or else that which trust begins with; `head` descends from it. With
    `every`, these are all that are reachable from `head` and not from `since`, the parents of merges included; without
    `since`, trust begins with `head`. The head itself is always among them, unless a tag or nothing is signed. Raises
    HistoryMissing.
    """
    if signed in ("tag", "no"):
        return ()
    if signed == "head" or since in (None, head):
        return (head,)
    assert since is not None
    trusted = set(_reachable(graph, since))
    new = set(_reachable(graph, head, without=trusted))
    if missing := next((each for each in sorted(new) if each not in graph), None):
        raise HistoryMissing(missing)
    ordered = [*_oldest_first(graph, head, new)]
    if cut := next((each for each in sorted(trusted) if each not in graph), None):
        # What does not descend from `since` may be one of its ancestors that were not fetched.
        above = {since}
        for each in ordered:
            if above.isdisjoint(graph[each]):
                raise HistoryMissing(cut)
            above.add(each)
    return tuple(ordered)


def _reachable(graph: Graph, commit: str, without: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    """Yield a commit and its ancestors, each once, as far as they were fetched and one commit further."""
    seen, todo = {commit}, [commit]
    while todo:
        each = todo.pop()
        if each in without:
            continue
        yield each
        for parent in graph.get(each, ()):
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)


def _oldest_first(graph: Graph, head: str, among: set[str]) -> Iterator[str]:
    """Yield the commits among some that are reachable from `head`, each after all its parents."""
    done: set[str] = set()
    todo = [(head, False)]
    while todo:
        each, is_ready = todo.pop()
        if each in done or each not in among:
            continue
        if is_ready:
            done.add(each)
            yield each
            continue
        todo.append((each, True))
        todo += [(parent, False) for parent in reversed(graph[each]) if parent not in done]
