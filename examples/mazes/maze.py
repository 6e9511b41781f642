"""Draw a maze: every cell is reached by one way only."""

import random


def draw(size, seed=None):
    """The walls of a maze of size by size cells, as the path of an SVG in a square of that size."""
    rng = random.Random(seed)
    ways = {(0, 0): set()}
    trail = [(0, 0)]
    while trail:
        x, y = trail[-1]
        free = [cell for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)) if _inside(cell, size, ways)]
        if not free:
            trail.pop()
            continue
        cell = rng.choice(free)
        ways[x, y].add(cell)
        ways[cell] = {(x, y)}
        trail.append(cell)
    walls = [f"M0 0H{size}M0 0V{size}"]
    for (x, y), open_to in ways.items():
        if (x + 1, y) not in open_to and (x, y) != (size - 1, size - 1):
            walls.append(f"M{x + 1} {y}V{y + 1}")
        if (x, y + 1) not in open_to:
            walls.append(f"M{x} {y + 1}H{x + 1}")
    return "".join(walls)


def _inside(cell, size, seen):
    return 0 <= cell[0] < size and 0 <= cell[1] < size and cell not in seen
