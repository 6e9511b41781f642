"""Run the live screen of `status --watch` on a terminal until the user quits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli.live.columns import rows_of
from reconciler.cli.live.frame import frame, page_of
from reconciler.cli.live.line import painted
from reconciler.cli.live.poller import Poller
from reconciler.cli.live.selection import View, index_of, pressed
from reconciler.cli.live.terminal import Terminal

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_LONGEST_WAIT_S = 60.0


def watch(paths: "StatePaths", only: Sequence[str]) -> None:
    """Show one app with its details, or these apps, or every one."""
    view = View(details=len(only) == 1)
    with Terminal() as terminal:
        poller = Poller(paths, only, terminal.wake)
        poller.start()
        while not view.done:
            if poller.failure is not None:
                raise poller.failure
            facts = poller.facts
            columns, rows = terminal.size
            names = [] if facts is None else [row.name for row in rows_of(facts, view)]
            if names:  # the selected app stays selected wherever the order puts it
                view = replace(view, selected=names[index_of(view, names)])
            poller.select((names[index_of(view, names)], view.log) if view.details and names else None)
            terminal.draw([painted(line) for line in frame(facts, poller.details, view, columns, rows)])
            for key in terminal.wait(_LONGEST_WAIT_S):
                view = pressed(view, key, names, page_of(rows, view))
