"""Run the live screen of `status --watch` on a terminal until the user quits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli.live.columns import rows_of
from reconciler.cli.live.frame import frame, page_of
from reconciler.cli.live.line import painted
from reconciler.cli.live.log_screen import LINES, furthest_back
from reconciler.cli.live.poller import Poller
from reconciler.cli.live.requester import Requester
from reconciler.cli.live.selection import View, index_of, pressed
from reconciler.cli.live.terminal import Terminal

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_LONGEST_WAIT_S = 60.0
_LINES_IN_DETAILS = 200


def watch(paths: "StatePaths", only: Sequence[str]) -> None:
    """Show one app with its details, or these apps, or every one."""
    view = View(details=len(only) == 1)
    details = None
    with Terminal() as terminal:
        poller, requester = Poller(paths, only, terminal.wake), Requester(paths, terminal.wake)
        poller.start()
        while not view.done:
            if poller.failure is not None:
                raise poller.failure
            facts = poller.facts
            columns, rows = terminal.size
            names = [] if facts is None else [row.name for row in rows_of(facts, view)]
            if names:  # the selected app stays selected wherever the order puts it
                view = replace(view, selected=names[index_of(view, names)])
            poller.select(_selected(view, names))
            if not view.back:  # what was scrolled back to stays where it is
                details = poller.details
            if view.back:  # wraps the whole log
                view = replace(view, back=min(view.back, furthest_back(details, columns, rows - 1)))
            for answer in requester.answers():
                view = replace(view, notice=answer)
            terminal.draw([painted(line) for line in frame(facts, details, view, columns, rows)])
            for key in terminal.wait(_LONGEST_WAIT_S):
                view = pressed(view, key, names, page_of(rows, view))
                if view.request is not None:
                    requester.make(view.request)
                    view = replace(view, request=None, notice=f"{view.request.app}: {view.request.do} requested …")


def _selected(view: View, names: Sequence[str]) -> tuple[str, str, int] | None:
    """Return the app whose details are shown, with its log and how much of it."""
    if not names or not (view.details or view.logs):
        return None
    return names[index_of(view, names)], view.log, LINES if view.logs else _LINES_IN_DETAILS
