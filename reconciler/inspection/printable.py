"""Make any text printable, and format numbers and times for people.

What an app, a manifest or a file's name says is shown, never obeyed: printable text cannot move the cursor, colour, end
or reverse a line, or hide. Marks that only shape the writing of a language (joiners, variation selectors) stay.
"""

import json
import re
import shlex
import time
from collections.abc import Sequence
from typing import Any

from reconciler.planning.wording import span

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

_SGR = re.compile("\x1b\\[([0-9;:]{0,40})m")


def visible(text: object) -> str:
    """Escape invisible characters by their numbers in hexadecimal; line breaks and tabs stay."""
    text = str(text)
    if text.isascii() and text.isprintable():  # as nearly every text is
        return text
    return _INVISIBLE.sub(_named, text.replace("\r\n", "\n"))


def coloured(text: str, *, keep: bool) -> str:
    """Make text printable on one line, with the colours and weights that it sets or without any; none hides text."""
    parts = _SGR.split(text)
    if len(parts) == 1:
        return plain(text)
    shown = [plain(parts[0])]
    for codes, after in zip(parts[1::2], parts[2::2], strict=True):
        if hides := "8" in _attributes(codes):
            shown.append(plain(f"\x1b[{codes}m"))
        shown.append(f"\x1b[{codes}m" if keep and not hides else "")
        shown.append(plain(after))
    return "".join(shown) + ("\x1b[0m" if keep else "")


def _attributes(codes: str) -> list[str]:
    """Return the attributes that are set, without the numbers that choose a colour."""
    numbers, found = iter(codes.replace(":", ";").split(";")), []
    for number in numbers:
        if number in {"38", "48", "58"}:
            for _ in range({"5": 1, "2": 3}.get(next(numbers, ""), 0)):
                next(numbers, "")
        else:
            found.append(number.lstrip("0"))
    return found


def quoted(text: str) -> str:
    r"""Quote text as one word of a shell; invisible characters and line breaks become bytes, as in $'\x1b'."""
    if not (_INVISIBLE.search(text) or "\n" in text):
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{_INVISIBLE.sub(_bytes, plain)}'"


def json_text(facts: Any, indent: int | None = None) -> str:
    """Return the facts as JSON; letters stay letters, and invisible characters are escaped."""
    return _INVISIBLE.sub(_escaped, json.dumps(facts, indent=indent, ensure_ascii=False))


def _named(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _bytes(found: "re.Match[str]") -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode(errors="surrogatepass"))


def _escaped(found: "re.Match[str]") -> str:
    return json.dumps(found[0])[1:-1]


def plain(text: object) -> str:
    """Make text printable on one line."""
    return visible(text).replace("\n", " ").replace("\t", " ")


def ago(seconds: float) -> str:
    """Return a duration for people, in two units at most: `1h5m`."""
    return span(seconds)


def short(seconds: float | None) -> str:
    """Return how long requests take or wait, as tables have it: `12.3ms`, `1.5s`, `-` where it is not known."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else f"{seconds:.1f}s"


def clock(at: float) -> str:
    """Return a wall-clock time in the host's time zone: `2026-11-26 14:30:00`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def sized(size: int) -> str:
    """Return a number of bytes for people: 12K, 3.4M."""
    amount = float(size)
    for unit in ("B", "K", "M"):
        if amount < 1024:
            return f"{amount:.3g}{unit}" if unit != "B" else f"{size}B"
        amount /= 1024
    return f"{amount:.3g}G"


def workers_of(workers: int, worker_range: Sequence[int] | None, busy: float | None = None) -> str:
    """Return a number of workers, with its range and the share of their time that they work: `4 (1-8) 71%`."""
    share = "" if busy is None or not workers else f" {busy:.0%}"
    return str(workers) if worker_range is None else f"{workers} ({worker_range[0]}-{worker_range[1]}){share}"


def megabytes(size: int) -> str:
    """Return the memory of processes, as tables have it: `12.3M`, `-` where there is none."""
    return f"{size / 2**20:.1f}M" if size else "-"
