"""Format facts for the page. Templates escape markup; here no text can move a cursor, end a line or turn direction."""

import re
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from reconciler.inspection.printable import visible
from reconciler.planning.wording import span


def line(text: object) -> str:
    """Return text on one line, with a mark in place of each line break."""
    return visible(text).replace("\n", " \u21b5 ").replace("\t", " ")


def size(count: float | None) -> str:
    """Return bytes with a unit."""
    if count is None:
        return ""
    for unit, step in (("GB", 2**30), ("MB", 2**20)):
        if count >= step:
            return f"{count / step:.1f} {unit}" if count < 10 * step else f"{count / step:.0f} {unit}"
    return f"{count / 1024:.0f} kB"


def percent(share: float | None) -> str:
    """Return a share of one core as a percentage."""
    if share is None:
        return ""
    return f"{share * 100:.1f}%" if share < 0.0995 else f"{share * 100:.0f}%"


def rate(per_s: float | None) -> str:
    """Return a number of requests per second."""
    if per_s is None:
        return ""
    return f"{per_s:.1f}" if per_s < 9.95 else f"{per_s:.0f}"


def duration(seconds: float) -> str:
    """Return the seconds that an answer took."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def moment(at: float | None) -> str:
    """Return a wall-clock time in the format of HTML's `datetime`."""
    return "" if not at else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def brief(at: float) -> str:
    """Return a wall-clock time in the host's time zone, without the date if it is today."""
    then, now = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def expires(at: float) -> str:
    """Return when a certificate ends, as people say it."""
    left_s = at - time.time()  # noqa: TID251  a certificate's times are those of the wall clock
    return f"expires in {span(left_s)}" if left_s > 0 else "has expired"


def url(text: Any) -> str | None:
    """Return an address that may be made a link, None for any other text."""
    return text if isinstance(text, str) and re.match(r"https?://", text) else None


def query(**parts: str) -> str:
    """Return the query of a URL with the parts that are not empty; empty without any."""
    found = urlencode({name: value for name, value in parts.items() if value})
    return f"?{found}" if found else ""
