"""Facts in, words for a person out. Nothing in a text may pass for anything but text: not as markup (templates see to
that), and not by moving a cursor, ending a line or turning its direction.
"""

import re
from datetime import UTC, datetime
from typing import Any

from reconciler.inspection.printable import visible


def line(text: object) -> str:
    """Text on one line, with a mark where it had ended one."""
    return visible(text).replace("\n", " \u21b5 ").replace("\t", " ")


def size(count: float | None) -> str:
    """Bytes as a person says them."""
    if count is None:
        return ""
    for unit, step in (("GB", 2**30), ("MB", 2**20)):
        if count >= step:
            return f"{count / step:.1f} {unit}" if count < 10 * step else f"{count / step:.0f} {unit}"
    return f"{count / 1024:.0f} kB"


def percent(share: float | None) -> str:
    """A share of one core."""
    if share is None:
        return ""
    return f"{share * 100:.1f}%" if share < 0.0995 else f"{share * 100:.0f}%"


def rate(per_s: float | None) -> str:
    """Requests a second."""
    if per_s is None:
        return ""
    return f"{per_s:.1f}" if per_s < 9.95 else f"{per_s:.0f}"


def moment(at: float | None) -> str:
    """A wall-clock time for a machine, as HTML's `datetime` wants it."""
    return "" if not at else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def clock(at: float) -> str:
    """The same for a person, in the host's time."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def brief(at: float) -> str:
    """The same; of the day it is, without the day."""
    then, now = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def url(text: Any) -> str | None:
    """An address that may be made a link."""
    return text if isinstance(text, str) and re.match(r"https?://", text) else None
