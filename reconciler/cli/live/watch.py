"""`status --watch` on a terminal: what is seen, drawn as a person wants it, until that person has seen enough."""

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli.live.columns import rows_of
from reconciler.cli.live.frame import frame, page_of
from reconciler.cli.live.line import painted
from reconciler.cli.live.poller import Looking
from reconciler.cli.live.selection import View, place, pressed
from reconciler.cli.live.terminal import Terminal

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_LONGEST_WAIT_S = 60.0


def watch(paths: "StatePaths", only: str | None) -> None:
    """Show one app with its details, or every app, until it is quit."""
    view = View(details=only is not None)
    with Terminal() as terminal:
        looking = Looking(paths, only, terminal.wake)
        looking.begin()
        while not view.done:
            if looking.failure is not None:
                raise looking.failure
            facts = looking.facts
            columns, rows = terminal.size
            names = [] if facts is None else [row.name for row in rows_of(facts, view)]
            if names:  # who is selected stays so, wherever the order puts it
                view = replace(view, selected=names[place(view, names)])
            looking.ask((names[place(view, names)], view.log) if view.details and names else None)
            terminal.draw([painted(line) for line in frame(facts, looking.details, view, columns, rows)])
            for key in terminal.wait(_LONGEST_WAIT_S):
                view = pressed(view, key, [] if facts is None else names, page_of(rows, view))
