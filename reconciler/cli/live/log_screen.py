"""Render a log of one app on the whole screen: long lines are wrapped, and it can be scrolled."""

from reconciler.cli.live.cells import cell_count, chopped
from reconciler.cli.live.facts import Details
from reconciler.cli.live.line import Line, shortened
from reconciler.cli.live.selection import LOGS, View
from reconciler.inspection.printable import plain

LINES = 2000


def log_screen(name: str, details: Details | None, view: View, width: int, height: int) -> list[Line]:
    """Return at most `height` lines, the first one a title; `details` are not those of another app or log."""
    if details is None or (details.name, details.log) != (name, view.log):
        return [_title(name, view, "", width), [("loading …", "dim")]][: max(0, height)]
    lines = _wrapped(details, width)
    room = max(0, height - 1)
    back = min(view.back, max(0, len(lines) - room))
    end = len(lines) - back
    where = f"paused, {back} more below" if back else "following"
    body: list[Line] = [[(line, "")] for line in lines[max(0, end - room) : end]]
    return [_title(name, view, where, width), *(body or [[("the log is empty", "dim")]])][: max(0, height)]


def furthest_back(details: Details | None, width: int, height: int) -> int:
    """Return by how many lines a log can be scrolled back on a screen of this size, its title included."""
    return 0 if details is None else max(0, len(_wrapped(details, width)) - max(0, height - 1))


def _wrapped(details: Details, width: int) -> list[str]:
    return [piece for line in details.lines for piece in (chopped(plain(line), max(2, width)) if line else ("",))]


def _title(name: str, view: View, where: str, width: int) -> Line:
    logs = "  ".join(f"[{each}]" if each == view.log else each for each in LOGS)
    rest = f"  {logs}  {where} "
    title = f"── {shortened(plain(name), max(1, width - len(rest) - 4))}{rest}"
    return [(title + "─" * max(0, width - cell_count(title)), "bold")]
