"""What a person has chosen to see, and a key in; what is chosen then out. Nothing else decides what a key does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

LOGS = ("app", "access", "staging")
SORTS = ("STATE", "APP", "REQ/S", "CPU", "MEMORY", "WORKERS", "RESTARTS", "NEXT TRY", "SINCE", "RUNTIME")

# For the help on the screen and for the documentation.
KEYS: Sequence[tuple[str, str]] = (
    ("↑ ↓ or k j", "select an app"),
    ("PgUp PgDn Home End", "the same, in larger steps"),
    ("Enter or d", "details of the selected app, and away again"),
    ("Tab", "in the details, the next log: app, access, staging"),
    ("s", "sort by the next column"),
    ("r", "sort the other way round"),
    ("/", "show only apps with this in name, state or message; Enter keeps it, Esc drops it"),
    ("?", "the keys, and away again"),
    ("q or Ctrl-C", "quit"),
    ("Esc", "close what is open, drop the filter; else quit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`selected` is an app's name, None for the first; `typing` is True while the filter is being written."""

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
    """What is chosen after a key; `names` are the apps as they are shown, `page` is how many at once."""
    if key == "ctrl-c":
        return replace(view, done=True)
    if view.typing:
        return _written(view, key, names)
    if view.help:
        return replace(view, help=False, done=key == "q")
    if key in _STEPS:
        return _moved(view, names, _STEPS[key](page))
    made = _CHANGES.get(key)
    return view if made is None else made(view)


def place(view: View, names: Sequence[str]) -> int:
    """Where the selected app is among those that are shown; the first while it is not there."""
    return names.index(view.selected) if view.selected in names else 0


def _written(view: View, key: str, names: Sequence[str]) -> View:
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
    return replace(view, selected=names[min(max(place(view, names) + by, 0), len(names) - 1)])


def _escaped(view: View) -> View:
    if view.details:
        return replace(view, details=False)
    return replace(view, filter="") if view.filter else replace(view, done=True)


def _next(all_of: Sequence[str], one: str) -> str:
    return all_of[(all_of.index(one) + 1) % len(all_of)]


def _detailed(view: View) -> View:
    return replace(view, details=not view.details)


_FAR = 10**9
_STEPS: Mapping[str, Callable[[int], int]] = {
    "up": lambda _: -1, "k": lambda _: -1, "down": lambda _: 1, "j": lambda _: 1, "page up": lambda page: -page,
    "page down": lambda page: page, "home": lambda _: -_FAR, "end": lambda _: _FAR,
}  # fmt: skip
_CHANGES: Mapping[str, Callable[[View], View]] = {
    "enter": _detailed,
    "d": _detailed,
    "tab": lambda view: replace(view, log=_next(LOGS, view.log)) if view.details else view,
    "s": lambda view: replace(view, sort=_next(SORTS, view.sort), reverse=False),
    "r": lambda view: replace(view, reverse=not view.reverse),
    "/": lambda view: replace(view, typing=True),
    "?": lambda view: replace(view, help=True),
    "q": lambda view: replace(view, done=True),
    "esc": _escaped,
}
