"""Find the names that depend on themselves, and describe a cycle of dependencies through each. Pure.

Quick however tangled the graph is: manifests may hold anything.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

_MOST_NAMED = 8
_NEARBY = 100
_Graph: TypeAlias = Mapping[str, list[str]]


def cycles(needs: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return, for each name on a cycle, a cycle through it that begins there.

    >>> cycles({"api": ["worker"], "worker": ["api"], "shop": ["api"]})
    {'api': 'api → worker → api', 'worker': 'worker → api → worker'}
    """
    # A name that needs nothing, or that is not defined, is on no cycle: of most hosts, nothing is left.
    needing = sorted((name, others) for name, others in needs.items() if others)
    graph = {name: sorted(other for other in others if needs.get(other)) for name, others in needing}
    found: dict[str, str] = {}
    for component in _strong_components(graph):
        inside = {name: [other for other in graph[name] if other in component] for name in sorted(component)}
        hub = min(component)
        after, before = _hops(hub, _reversed(inside)), _hops(hub, inside)
        for name in inside:
            if name not in found:
                cycle = _short(name, inside) or _cycle(name, hub, after, before)
                found |= {member: _described(cycle, at) for at, member in enumerate(cycle) if member not in found}
    return found


def _strong_components(graph: _Graph) -> Iterator[frozenset[str]]:
    """Yield the largest groups of several names in which each is reached from each (Kosaraju's algorithm)."""
    backwards = _reversed(graph)
    left = set(graph)
    for root in reversed(list(_finished(graph))):
        if root not in left:
            continue
        left.discard(root)
        component = [root]
        for name in component:
            more = [other for other in backwards[name] if other in left]
            left.difference_update(more)
            component += more
        if len(component) > 1:
            yield frozenset(component)


def _finished(graph: _Graph) -> Iterator[str]:
    """Yield every name after all that can only be reached through it."""
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
    """Return, for each name reached from the hub, itself included, the name before it on the shortest path.

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
    """Return the shortest cycle through a name, nothing when that leads further than to the nearest names."""
    before = _hops(name, graph, _NEARBY)
    return [name, *reversed(_until(name, name, before))] if name in before else []


def _cycle(name: str, hub: str, after: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """Return the path from the name to the hub and back, without the detours that come back to where they began."""
    there = [name, *_until(hub, name, after)]
    back = [hub, *reversed(_until(hub, name, before))] if name != hub else []
    index: dict[str, int] = {}
    cycle: list[str] = []
    for step in [*there, *back]:
        for dropped in cycle[index[step] :] if step in index else ():
            del index[dropped]
            cycle.pop()
        index[step] = len(cycle)
        cycle.append(step)
    return cycle


def _until(hub: str, name: str, hops: Mapping[str, str]) -> list[str]:
    """Return the names between a name and the hub."""
    between = []
    while (name := hops[name]) != hub:
        between.append(name)
    return between


def _described(cycle: list[str], start: int) -> str:
    size = len(cycle)
    shown = [cycle[(start + step) % size] for step in range(min(size, _MOST_NAMED))]
    more = [f"… ({size - _MOST_NAMED} more)"] if size > _MOST_NAMED else []
    return " → ".join([*shown, *more, cycle[start]])
