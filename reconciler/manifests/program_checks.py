"""Check what a document says of a program that serves in place of gunicorn: its command, and what goes with it."""

import re
from collections.abc import Iterator

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.planning.apps.command_words import check_words, words_of
from reconciler.planning.command_line import NoCommand

# Settings of gunicorn, or of the app that it loads.
_OF_GUNICORN = ("entrypoint", "workers", "threads", "worker_class", "gunicorn", "access_log")
_COMMANDS = ("command", "build")
_FPM = re.compile(r"(?:.*/)?php-fpm[\d.]*")


def words_given(given: str | list[str] | None) -> tuple[str, ...]:
    """Return the words of a command of a valid document, none if it has no such command."""
    if given is None:
        return ()
    return words_of(given) if isinstance(given, str) else tuple(given)


def program_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the commands of a document, and what does not go with them."""
    for field in _COMMANDS:
        if (given := tree.given(field)) is not None and (message := _problem(given.value)):
            yield (field,), message
    if "command" in tree.keys:
        for field in _OF_GUNICORN:
            if field in tree.keys:
                yield (
                    (field,),
                    f"is for gunicorn, which 'command' takes the place of: remove one of '{field}' and 'command'",
                )
        yield from _fastcgi_problems(tree)
    elif "listen" in tree.keys and "entrypoint" in tree.keys:
        yield ("listen",), "is for a program of 'command', and 'entrypoint' is served by gunicorn"


def _fastcgi_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield a health path of a program that does not speak HTTP."""
    given, health = tree.parts["command"].value, tree.given("health", "path")
    words = given if isinstance(given, list) else str(given).split()
    if health is not None and any(_FPM.fullmatch(str(word)) for word in words):
        yield (
            ("health", "path"),
            "is asked in HTTP, and php-fpm speaks FastCGI: without it, it has to accept connections",
        )


def _problem(given: object) -> str:
    """Return why a command cannot be run, "" if it can; another type is reported by the schema."""
    try:
        if isinstance(given, str):
            words_of(given)
        elif isinstance(given, list) and all(isinstance(each, str) for each in given):
            if not given or not given[0]:
                return "expected the name of a program first"
            check_words(tuple(given))
    except NoCommand as error:
        return str(error)
    return ""
