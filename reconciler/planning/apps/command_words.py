"""The words of the program that serves an app. No shell is run, unless the line of a Procfile needs one."""

import re

from reconciler.planning.apps.listen_variables import EXPANDED
from reconciler.planning.command_line import NeedsShell, NoCommand, split

# Where the packages of other languages put their commands, in the code; the last one comes first.
OWN_COMMANDS = ("vendor/bin", "node_modules/.bin")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_OPERATORS = "&|;<>()`\n"
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w++)[^}]*+(?:\}|\Z)|(?P<plain>\w+)|(?P<other>.?))")


def words_of(line: str) -> tuple[str, ...]:
    """Return the words of a command line. Raises NoCommand for what only a shell could do."""
    words = split(line)
    if not words or not words[0]:
        raise NoCommand("names no program")
    check_words(words)
    return ("env", *words) if _ASSIGNMENT.fullmatch(words[0]) else words


def check_words(words: tuple[str, ...]) -> None:
    """Raise NoCommand if a word names a variable that is not filled in; a command of a shell is left to that shell."""
    if words[:1] and words[0].rpartition("/")[2] in {"sh", "bash", "dash"}:
        return
    for word in words:
        for found in _VARIABLE.finditer(word):
            name = found["braced"] or found["plain"]
            if found["other"] == "(":
                raise NeedsShell("$(")
            if name is not None and name not in EXPANDED:
                only = f"only ${', $'.join(EXPANDED)} are filled in, not ${name}"
                raise NoCommand(f"{only}: no shell is run; for a shell, write [sh, -c, '…']")


def words_of_shell_line(line: str) -> tuple[str, ...]:
    """Return the words that run a line of a Procfile or a script: by a shell, which it replaces, if it needs one."""
    try:
        return words_of(line)
    except NoCommand:
        only_variables = not any(operator in line for operator in _OPERATORS)
        first = line.split(maxsplit=1)[0] if line.split() else ""
        starts = only_variables and not _ASSIGNMENT.fullmatch(first) and first not in {"exec", "cd"}
        return ("sh", "-c", f"exec {line}" if starts else line)
