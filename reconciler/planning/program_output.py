"""Find in what a program wrote why it failed, in one line: its exception or crash, and the line of the app's own code.

No line of a traceback but these is told; an output without an exception is told by its last line.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from reconciler.linux.dataclass import dataclass
from reconciler.planning.absent_packages import package_advice

LONGEST = 400
_MOST_OF_ONE = 20
_HEADER = "Traceback (most recent call last):"
_RAISED = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|NotFound|Missing)\b.*)$")
_AFTER_FRAMES = re.compile(r"^(?P<module>(?:[A-Za-z_]\w*\.)*)(?P<said>[A-Za-z_]\w*(?::.*)?)$")
_MODULES = re.compile(r"^(?:[A-Za-z_]\w*\.)+(?=[A-Z])")
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
# As faulthandler writes it, and the interpreter itself.
_CRASH = "Fatal Python error: "
_SIGNALS = frozenset((
    "Segmentation fault", "Aborted", "Bus error", "Illegal instruction", "Floating-point exception",
    "Floating point exception",
))  # fmt: skip
_CRASHED_AT = re.compile(r"^(?:Current thread 0x\w+ .*|Stack )\(most recent call first\):$")
_AFTER_CRASH = re.compile(r"^(?:Extension modules: |Current thread's C stack trace |<.* at 0x\w+>$)")
_MARKS = re.compile(r"^[\s~^]*$")
_WARNING = "warning:"
_OF_ENVIRONMENT = re.compile(r'File "(?:<frozen os>|[^"]*/os\.py)", line \d+, in __getitem__')
_UNSET = "; set it under `env` in the manifest"
_FOREIGN = ("/site-packages/", "/dist-packages/")
# The line of this that runs a command says nothing of why the command failed.
_ENTRY = "manage.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An exception as a program wrote it, without the name of its module; `place` is file:line, "" if unknown.

    `remedy` is the end of the sentence: how an operator fixes it, "" where that is unknown.
    """

    text: str
    place: str = ""
    remedy: str = ""

    @property
    def is_signal(self) -> bool:
        """Whether it is a signal that ended the interpreter, told by no more than its name."""
        return self.text.removeprefix(_CRASH) in _SIGNALS

    def __str__(self) -> str:
        return f"{self.text}{f' ({self.place})' if self.place else ''}{self.remedy}"


def raised(lines: Sequence[str], code: str = "") -> Raised | None:
    """Return the last exception of an output; its place is in the app's own code, relative to its directory `code`."""
    found = _last(lines, code)
    if found is not None:
        return found[0]
    return next((Raised(text=_whole(lines, at, match["kind"])) for at, match in _named(lines)), None)


def last_words(lines: Sequence[str], code: str = "") -> str:
    """Return why a program failed: its last exception, or the last line that it wrote; "" if it wrote none."""
    found = raised(lines, code)
    if found is not None:
        return str(found)[:LONGEST]
    said = [line.strip() for line in reversed(lines) if not (_MARKS.match(line) or _FRAME.match(line))]
    return next((line for line in said if not line.lower().startswith(_WARNING)), said[0] if said else "")[:LONGEST]


def said_last(lines: Sequence[str], code: str = "") -> str:
    """Return what a program that ran on said last: its exception if that was it, otherwise its last line."""
    last = next((at for at in reversed(range(len(lines))) if _says_something(lines[at])), None)
    if last is None:
        return ""
    found, text = _last(lines, code), lines[last].strip()
    if found is not None:
        is_its_own = lines[last][0].isspace() or text in found[0].text  # of an exception of several lines
        if last <= found[1] or (is_its_own and last - found[1] <= _MOST_OF_ONE):
            return str(found[0])[:LONGEST]
    return text[:LONGEST]


def _says_something(line: str) -> bool:
    return not (_MARKS.match(line) or _AFTER_CRASH.match(line))


def _last(lines: Sequence[str], code: str) -> tuple[Raised, int] | None:
    """Return the exception or crash that comes last, and the line that it ends at; None if there is none."""
    for start in reversed(range(len(lines))):
        if lines[start].endswith(_HEADER):
            found = _after(lines, start, code)
        elif lines[start].startswith(_CRASH):
            found = _crash(lines, start, code)
        else:
            continue
        if found is not None:
            return found
    return None


def _crash(lines: Sequence[str], start: int, code: str) -> tuple[Raised, int]:
    """Return the crash that is told of from a line on, and where it ends; of its frames, the innermost is the first."""
    head = next((at for at in range(start + 1, len(lines)) if _CRASHED_AT.match(lines[at])), None)
    if head is None:
        return Raised(text=lines[start]), start
    frames = list(takewhile(_FRAME.match, lines[head + 1 :]))
    place = next(filter(None, (_place(frame, code) for frame in frames)), "")
    return Raised(text=lines[start], place=place), head + len(frames)


def _after(lines: Sequence[str], start: int, code: str) -> tuple[Raised, int] | None:
    """Return what the traceback that starts at a line ends with, and where, None if it was cut."""
    indent = len(lines[start]) - len(lines[start].lstrip()) if lines[start].strip() == _HEADER else 0
    place, frame = "", ""
    for at in range(start + 1, len(lines)):
        line = lines[at][indent:]
        if line[:1].isspace() or not line:
            place = _place(line, code) or place
            frame = line if _FRAME.match(line) else frame
            continue
        match = _AFTER_FRAMES.match(line)
        if match is None:
            return None
        text = _whole([each[indent:] for each in lines], at, match["said"])
        unset = text.startswith("KeyError: ") and _OF_ENVIRONMENT.search(frame) is not None
        # What an installer runs, which is of no app, lacks what the app cannot list.
        remedy = _UNSET if unset else package_advice(text) if code else ""
        return Raised(text=text, place=place, remedy=remedy), at
    return None


def _named(lines: Sequence[str]) -> Iterator[tuple[int, "re.Match[str]"]]:
    for at in reversed(range(len(lines))):
        if match := _RAISED.match(lines[at].strip()):
            yield at, match


def _whole(lines: Sequence[str], at: int, said: str) -> str:
    """Return an exception without the name of its module; of a list that it announces, with the first entry."""
    text = _MODULES.sub("", said)
    if not text.endswith(":"):
        return text
    more = (line.strip() for line in lines[at + 1 :] if line.strip() and not line.strip().endswith(":"))
    return " ".join((text, next(more, ""))).rstrip()


def _place(line: str, code: str) -> str:
    match = _FRAME.match(line)
    if match is None or not code:
        return ""
    file = match["file"]
    inside = f"{code.rstrip('/')}/"
    if any(part in file for part in _FOREIGN):
        return ""
    own = file.removeprefix(inside) if file.startswith(inside) else file
    return "" if own.startswith(("/", "<")) or own.rpartition("/")[2] == _ENTRY else f"{own}:{match['line']}"
