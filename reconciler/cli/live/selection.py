"""Decide what each key does: a view and a key give the next view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

LOGS = ("app", "access", "staging")
SORTS = ("STATE", "APP", "REQ/S", "CPU", "MEMORY", "WORKERS", "RESTARTS", "NEXT TRY", "SINCE", "RUNTIME")

# For the help on the screen and for the documentation.
KEYS: Sequence[tuple[str, str]] = (
    ("↑ ↓ or k j", "select an app; in the logs, scroll"),
    ("PgUp PgDn Home End", "the same in larger steps; End follows the log"),
    ("Enter or d", "open or close the details of the selected app"),
    ("l", "open its logs on the whole screen, or close them"),
    ("Tab", "show the next log: app, access, staging"),
    ("r", "restart the selected app"),
    ("s", "stop the selected app, after a question"),
    ("S", "start the selected app again"),
    ("o", "sort by the next column"),
    ("O", "reverse the order"),
    ("/", "filter by name, state or message; Esc clears the filter"),
    ("?", "show or hide the keys"),
    ("q or Ctrl-C", "quit"),
    ("Esc", "close the logs or the details, clear the filter, or quit"),
)

RequestName: TypeAlias = Literal["restart", "stop", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRequest:
    """A request to the daemon about an app."""

    do: RequestName
    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the user has chosen: `selected` is an app's name, None for the first; `typing` while editing the filter.

    `logs` while the logs fill the screen, `back` by how many lines they are scrolled back from their end. `question` is
    a request that waits for a yes, `request` one to be made now, and `notice` what became of the last.
    """

    selected: str | None = None
    sort: str = SORTS[0]
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    details: bool = False
    log: str = LOGS[0]
    logs: bool = False
    back: int = 0
    question: AppRequest | None = None
    request: AppRequest | None = None
    notice: str = ""
    help: bool = False
    done: bool = False


def pressed(view: View, key: str, names: Sequence[str], page: int) -> View:
    """Return the view after a key; `names` are the apps in the order shown, `page` is how many fit on the screen."""
    view = replace(view, notice="")
    if key == "ctrl-c":
        return replace(view, done=True)
    if view.typing:
        return _typed(view, key, names)
    if view.help:
        return replace(view, help=False, done=key == "q")
    if view.question is not None:
        return replace(view, question=None, request=view.question if key in {"y", "Y"} else None)
    if key in _STEPS:
        by = _STEPS[key](page)
        return replace(view, back=max(0, view.back - by)) if view.logs else _moved(view, names, by)
    if key in _REQUESTS and names:
        return _requested(view, _REQUESTS[key], names[index_of(view, names)])
    change = _CHANGES.get(key)
    return view if change is None else change(view)


def index_of(view: View, names: Sequence[str]) -> int:
    """Return the index of the selected app among those shown, 0 if it is not one of them."""
    return names.index(view.selected) if view.selected in names else 0


def _typed(view: View, key: str, names: Sequence[str]) -> View:
    match key:
        case "esc":
            return replace(view, typing=False, filter="")
        case "enter":
            return replace(view, typing=False)
        case "backspace":
            return replace(view, filter=view.filter[:-1], typing=bool(view.filter))
        case "ctrl-u":
            return replace(view, filter="")
        case "up" | "down":
            return _moved(view, names, _STEPS[key](1))
        case _ if len(key) == 1:
            return replace(view, filter=view.filter + key)
    return view


def _moved(view: View, names: Sequence[str], by: int) -> View:
    if not names:
        return view
    return replace(view, selected=names[min(max(index_of(view, names) + by, 0), len(names) - 1)])


def _requested(view: View, do: RequestName, app: str) -> View:
    """Return the view that makes a request, or asks first where it takes the app out of service."""
    request = AppRequest(do=do, app=app)
    return replace(view, question=request) if do == "stop" else replace(view, request=request)


def _escaped(view: View) -> View:
    if view.logs:
        return replace(view, logs=False, back=0)
    if view.details:
        return replace(view, details=False)
    return replace(view, filter="") if view.filter else replace(view, done=True)


def _next(all_of: Sequence[str], one: str) -> str:
    return all_of[(all_of.index(one) + 1) % len(all_of)]


def _toggle_details(view: View) -> View:
    return view if view.logs else replace(view, details=not view.details)


def _next_log(view: View) -> View:
    return replace(view, log=_next(LOGS, view.log), back=0) if view.details or view.logs else view


_FAR = 10**9
_STEPS: Mapping[str, Callable[[int], int]] = {
    "up": lambda _: -1, "k": lambda _: -1, "down": lambda _: 1, "j": lambda _: 1, "page up": lambda page: -page,
    "page down": lambda page: page, "home": lambda _: -_FAR, "end": lambda _: _FAR,
}  # fmt: skip
_REQUESTS: Mapping[str, RequestName] = {"r": "restart", "s": "stop", "S": "start"}
_CHANGES: Mapping[str, Callable[[View], View]] = {
    "enter": _toggle_details,
    "d": _toggle_details,
    "tab": _next_log,
    "l": lambda view: replace(view, logs=not view.logs, back=0),
    "o": lambda view: replace(view, sort=_next(SORTS, view.sort), reverse=False),
    "O": lambda view: replace(view, reverse=not view.reverse),
    "/": lambda view: replace(view, typing=not view.logs),
    "?": lambda view: replace(view, help=True),
    "q": lambda view: replace(view, done=True),
    "esc": _escaped,
}
