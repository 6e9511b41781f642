"""Names with the names each needs in; for every name that would wait for itself, the way round out, in words. Pure.

Quick however tangled they are: manifests may hold anything.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

_MOST_NAMED = 8
_NEARBY = 100
_Graph: TypeAlias = Mapping[str, list[str]]


def cycles(needs: Mapping[str, Collection[str]]) -> dict[str, str]:
    """For each name on a circle such a circle, as one goes through it from there.

    >>> circles({"api": ["worker"], "worker": ["api"], "shop": ["api"]})
    {'api': 'api → worker → api', 'worker': 'worker → api → worker'}
    """
    # A name that needs nothing, or that nobody knows, is on no circle.
    graph = {name: sorted(other for other in others if needs.get(other)) for name, others in sorted(needs.items())}
    found: dict[str, str] = {}
    for knot in _strong_components(graph):
        inside = {name: [other for other in graph[name] if other in knot] for name in sorted(knot)}
        hub = min(knot)
        after, before = _hops(hub, _reversed(inside)), _hops(hub, inside)
        for name in inside:
            if name not in found:
                circle = _short(name, inside) or _cycle(name, hub, after, before)
                found |= {member: _told(circle, at) for at, member in enumerate(circle) if member not in found}
    return found


def _strong_components(graph: _Graph) -> Iterator[frozenset[str]]:
    """The largest groups of several names in which each is reached from each; Kosaraju's way to find them."""
    backwards = _reversed(graph)
    left = set(graph)
    for root in reversed(list(_finished(graph))):
        if root not in left:
            continue
        left.discard(root)
        knot = [root]
        for name in knot:
            more = [other for other in backwards[name] if other in left]
            left.difference_update(more)
            knot += more
        if len(knot) > 1:
            yield frozenset(knot)


def _finished(graph: _Graph) -> Iterator[str]:
    """Every name, after all that can only be reached through it."""
    seen: set[str] = set()
    for root in graph:
        trail = [(root, iter(graph[root]))] if root not in seen else []
        seen.add(root)
        while trail:
            name, others = trail[-1]
            following = next((other for other in others if other not in seen), None)
            if following is None:
                trail.pop()
                yield name
            else:
                seen.add(following)
                trail.append((following, iter(graph[following])))


def _reversed(graph: _Graph) -> _Graph:
    backwards: defaultdict[str, list[str]] = defaultdict(list)
    for name, others in graph.items():
        for other in others:
            backwards[other].append(name)
    return backwards


def _hops(hub: str, graph: _Graph, most: int | None = None) -> dict[str, str]:
    """For each name that is reached from the hub, the hub too, the one before it on the shortest way.

    With `most`, about as many of the nearest.
    """
    hops: dict[str, str] = {}
    queue = deque([hub])
    while queue and (most is None or len(hops) < most):
        name = queue.popleft()
        for other in graph[name]:
            if other not in hops:
                hops[other] = name
                queue.append(other)
    return hops


def _short(name: str, graph: _Graph) -> list[str]:
    """The shortest circle through a name, nothing when it is none of the nearest that it comes by."""
    before = _hops(name, graph, _NEARBY)
    return [name, *reversed(_until(name, name, before))] if name in before else []


def _cycle(name: str, hub: str, after: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """The way from the name to the hub and back, without the detours that meet themselves."""
    there = [name, *_until(hub, name, after)]
    back = [hub, *reversed(_until(hub, name, before))] if name != hub else []
    place: dict[str, int] = {}
    circle: list[str] = []
    for step in [*there, *back]:
        for dropped in circle[place[step] :] if step in place else ():
            del place[dropped]
            circle.pop()
        place[step] = len(circle)
        circle.append(step)
    return circle


def _until(hub: str, name: str, hops: Mapping[str, str]) -> list[str]:
    """The names between a name and the hub."""
    between = []
    while (name := hops[name]) != hub:
        between.append(name)
    return between


def _told(circle: list[str], start: int) -> str:
    size = len(circle)
    shown = [circle[(start + step) % size] for step in range(min(size, _MOST_NAMED))]
    more = [f"… ({size - _MOST_NAMED} more)"] if size > _MOST_NAMED else []
    return " → ".join([*shown, *more, circle[start]])
