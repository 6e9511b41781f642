"""Split a command line into words as a shell would. No shell is run, unless the line of a Procfile needs one."""

import re

# The variables that are filled in: where the program is to listen.
EXPANDED = ("PORT", "SOCKET", "HOST")
# Where the packages of other languages put their commands, in the code; the last one comes first.
OWN_COMMANDS = ("vendor/bin", "node_modules/.bin")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_OPERATORS = "&|;<>()`\n"
_TWICE = "&|<>;"
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)[^}]*\}|(?P<plain>\w+)|(?P<other>.?))")


class NotAList(ValueError):
    """A line cannot be run without a shell; the text says why, as the end of a sentence."""


def words_of(line: str) -> tuple[str, ...]:
    """Return the words of a command line. Raises NotAList for what only a shell could do."""
    import shlex  # not for forwarders, which only fill in

    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise NotAList(f"it cannot be split into words: {error}".lower()) from None
    if not words:
        raise NotAList("it is empty")
    if operator := _operator(line):
        raise NotAList(f"no shell is run that would understand '{operator}'")
    check_words(words)
    return ("env", *words) if _ASSIGNMENT.fullmatch(words[0]) else words


def _operator(line: str) -> str:
    """Return the first operator of a shell that is not quoted, "" without one."""
    quote, is_escaped = "", False
    for at, char in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif char == "\\" and quote != "'":
            is_escaped = True
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char in _OPERATORS and (not quote or (char == "`" and quote == '"')):
            return char * 2 if char in _TWICE and line[at + 1 : at + 2] == char else char
    return ""


def check_words(words: tuple[str, ...]) -> None:
    """Raise NotAList if a word names a variable that is not filled in; a command of a shell is left to that shell."""
    if words[:1] and words[0].rpartition("/")[2] in {"sh", "bash", "dash"}:
        return
    for word in words:
        for found in _VARIABLE.finditer(word):
            name = found["braced"] or found["plain"]
            if found["other"] == "(":
                raise NotAList("no shell is run that would understand '$('")
            if name is not None and name not in EXPANDED:
                raise NotAList(f"only ${', $'.join(EXPANDED)} are filled in, not ${name}: no shell is run")


def words_of_shell_line(line: str) -> tuple[str, ...]:
    """Return the words that run a line of a Procfile or a script: by a shell, which it replaces, if it needs one."""
    try:
        return words_of(line)
    except NotAList:
        only_variables = not any(operator in line for operator in _OPERATORS)
        first = line.split(maxsplit=1)[0] if line.split() else ""
        starts = only_variables and not _ASSIGNMENT.fullmatch(first) and first not in {"exec", "cd"}
        return ("sh", "-c", f"exec {line}" if starts else line)
