"""Take over what runs by a crontab as schedules of the manifest."""

import re
from collections.abc import Sequence

from reconciler.inspection.imports.draft import TO_FILL_IN, Draft, unique_name
from reconciler.inspection.imports.ledger import Item, Ledger, Note, quoted
from reconciler.planning.command_line import NeedsShell, command_of
from reconciler.planning.schedules.expression import expression_of

_WRITE = "write it as one of 'schedules'"
_ZONE = "its times are those of UTC: add 'zone' to each of 'schedules', if they were meant for another time zone"
_LINE = re.compile(r"(@\w+|(?:\S+\s+){4}\S+)\s+(\S.*)")


def take_line(ledger: Ledger, draft: Draft, item: Item) -> None:
    """Take over a line of a crontab: its times, then its command."""
    match = _LINE.fullmatch(item.value.strip())
    if match is None:
        ledger.leave([item], _WRITE, draft.notes)
        return
    take(ledger, draft, [item], match[1], match[2])


def take_uwsgi_line(ledger: Ledger, draft: Draft, item: Item) -> None:
    """Take over a cron of uWSGI, which writes -1 for every minute or hour, and -5 for every fifth."""
    fields = item.value.split(None, 5)
    numbers = [int(each) for each in fields[:5] if re.fullmatch(r"-?\d{1,3}", each)]
    if len(fields) < 6 or len(numbers) < 5:
        ledger.leave([item], _WRITE, draft.notes)
        return
    times = ("*" if each == -1 else f"*/{-each}" if each < 0 else f"{each}" for each in numbers)
    take(ledger, draft, [item], " ".join(times), fields[5], {} if "unique" in item.name else {"overlap": "allow"})


def take(  # noqa: PLR0913, PLR0917  what is taken over, and from where
    ledger: Ledger, draft: Draft, items: Sequence[Item], at: str, command: str, more: dict[str, str] | None = None
) -> None:
    """Take over a schedule; one whose times or command no manifest can have is left with the reason."""
    try:
        expression_of(at)
    except ValueError as error:
        ledger.leave(items, f"{_WRITE}; {error}", draft.notes)
        return
    if TO_FILL_IN.search(command):
        ledger.leave(items, f"{_WRITE}; its command has to be filled in", draft.notes)
        return
    written: str | list[str] = command
    try:
        if command_of(command).expands:
            written = ["sh", "-c", command]  # which every crontab has, and which splits what it fills in
    except NeedsShell:
        written = ["sh", "-c", command]
    except ValueError as error:
        ledger.leave(items, f"{_WRITE}; its command: {error}", draft.notes)
        return
    schedules = draft.fields.setdefault("schedules", {})
    if not schedules:
        first = items[0]
        draft.notes.append(Note(file=first.file, line=first.line, original=quoted(list(items)), advice=_ZONE))
    schedules[unique_name("cron", schedules)] = {"command": written, "at": at, **(more or {})}
    ledger.use(*items)
