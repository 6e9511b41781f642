"""Command lines without the secrets among their arguments, which a shell or a program would get."""

import re
from collections.abc import Iterator

from reconciler.vault.given_values import is_harmless
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import is_secret_name, redacted, words_of

_WORD = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\;|&()<>])+|["'\\]|[;|&()<>]+""", re.DOTALL)
_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)(=)?")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=")
_ENDS_COMMAND = re.compile(r"[;|&()]+")
# One-letter options that are followed by a password, or by a user with one, in curl, mysql, psql, redis-cli and others.
_SHORT = frozenset("aAkpPtuUwW")
_GLUED = ("mysql", "mariadb", "sshpass", "7z", "unzip", "zip")
_NAMED_PLAINLY = frozenset(("auth", "user", "login", "pin", "cookie", "header", "jwt", "salt"))
_MIXED = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[^\s/.:=-]{6,}")


def redacted_command(line: str) -> str:
    """Return a command line without passwords: after options and names that announce one, and what looks like one."""
    shown, position = [], 0
    for first, last in _secrets(line):
        shown += [line[position:first], HIDDEN]
        position = last
    return redacted("".join((*shown, line[position:])))


def redacted_arguments(arguments: list[str]) -> list[bool]:
    """Return which arguments of a program may be secret: all but options, and what is harmless."""
    return [
        number > 0 and not (argument.startswith("-") and "=" not in argument) and not is_harmless("", argument)
        for number, argument in enumerate(arguments)
    ]


def _secrets(line: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of a line that may be secret."""
    announced, sensitive, glued, named = False, False, False, False
    for word in _WORD.finditer(line):
        text = word[0].strip("\"'")
        if _ENDS_COMMAND.fullmatch(text):
            announced = sensitive = glued = named = False
            continue
        option, assignment = _OPTION.match(text), _ASSIGNMENT.match(text)
        program = text.rpartition("/")[2]
        if option is not None:
            has_value = bool(option[2])
            if has_value and _announces(option[1]):
                yield word.start() + word[0].index("=") + 1, word.end()
            elif glued and not has_value and text.startswith("-p") and len(text) > 2:
                yield word.start() + word[0].index("-p") + 2, word.end()
            announced = not has_value and (text[1:] in _SHORT or _announces(option[1]))
            continue
        if assignment is not None and not is_harmless(assignment[1], text[assignment.end() :]):
            yield word.start() + word[0].index("=") + 1, word.end()
        elif assignment is None and named and _is_secret(text, announced=announced or sensitive):
            yield word.span()
        named = named or assignment is None  # the program, which is no secret: python3
        announced = False
        sensitive = sensitive or (assignment is None and _announces(program))
        glued = glued or program.startswith(_GLUED)


def _is_secret(argument: str, *, announced: bool) -> bool:
    return (announced and not is_harmless("", argument)) or _MIXED.fullmatch(argument) is not None


def _announces(name: str) -> bool:
    return is_secret_name(name) or not _NAMED_PLAINLY.isdisjoint(words_of(name))
