"""Decide what each key does: a view and a key give the next view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

LOGS = ("app", "access", "staging")
SORTS = ("STATE", "APP", "REQ/S", "CPU", "MEMORY", "WORKERS", "RESTARTS", "NEXT TRY", "SINCE", "RUNTIME")

# For the help on the screen and for the documentation.
KEYS: Sequence[tuple[str, str]] = (
    ("↑ ↓ or k j", "select an app"),
    ("PgUp PgDn Home End", "select, in larger steps"),
    ("Enter or d", "open or close the details of the selected app"),
    ("Tab", "in the details, show the next log: app, access, staging"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("/", "filter by name, state or message; Esc clears the filter"),
    ("?", "show or hide the keys"),
    ("q or Ctrl-C", "quit"),
    ("Esc", "close the details, clear the filter, or quit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the user has chosen: `selected` is an app's name, None for the first; `typing` while editing the filter."""

    selected: str | None = None
    sort: str = SORTS[0]
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    details: bool = False
    log: str = LOGS[0]
    help: bool = False
    done: bool = False


def pressed(view: View, key: str, names: Sequence[str], page: int) -> View:
    """Return the view after a key; `names` are the apps in the order shown, `page` is how many fit on the screen."""
    if key == "ctrl-c":
        return replace(view, done=True)
    if view.typing:
        return _typed(view, key, names)
    if view.help:
        return replace(view, help=False, done=key == "q")
    if key in _STEPS:
        return _moved(view, names, _STEPS[key](page))
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


def _escaped(view: View) -> View:
    if view.details:
        return replace(view, details=False)
    return replace(view, filter="") if view.filter else replace(view, done=True)


def _next(all_of: Sequence[str], one: str) -> str:
    return all_of[(all_of.index(one) + 1) % len(all_of)]


def _toggle_details(view: View) -> View:
    return replace(view, details=not view.details)


_FAR = 10**9
_STEPS: Mapping[str, Callable[[int], int]] = {
    "up": lambda _: -1, "k": lambda _: -1, "down": lambda _: 1, "j": lambda _: 1, "page up": lambda page: -page,
    "page down": lambda page: page, "home": lambda _: -_FAR, "end": lambda _: _FAR,
}  # fmt: skip
_CHANGES: Mapping[str, Callable[[View], View]] = {
    "enter": _toggle_details,
    "d": _toggle_details,
    "tab": lambda view: replace(view, log=_next(LOGS, view.log)) if view.details else view,
    "s": lambda view: replace(view, sort=_next(SORTS, view.sort), reverse=False),
    "r": lambda view: replace(view, reverse=not view.reverse),
    "/": lambda view: replace(view, typing=True),
    "?": lambda view: replace(view, help=True),
    "q": lambda view: replace(view, done=True),
    "esc": _escaped,
}
