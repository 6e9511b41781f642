"""Say why a command failed: a reason for programs beside the message for people.

Where the output is JSON, the last line on standard error is `{"error": {"reason": …, "message": …}}`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import IO, Any

import click

# The reasons that a command can fail for, in the order of the reference.
REASONS: Mapping[str, str] = {
    "usage": "The command line is wrong.",
    "failed": "What was asked for failed; the message says why.",
    "no-daemon": "No daemon is running where one is needed.",
    "never-used": "No daemon has ever run in the state directory.",
    "several-daemons": "Several daemons are running, and none was chosen.",
    "no-answer": "A daemon is running, and does not answer or accept the request.",
    "refused": "The daemon refused the request.",
    "not-allowed": "The daemon or its files belong to another user.",
    "not-found": "Nothing has the name that was given or matches the pattern, or more than one thing does.",
    "unusable-settings": "The host's settings cannot be read or have mistakes.",
    "manifest-errors": "A manifest or a source has errors, or the manifests cannot be read.",
    "not-up-to-date": "Something is not as its manifest asks.",
    "interrupted": "The operator ended the command, or said no to a question.",
    "unreachable": "With --host: ssh could not run the command on the other host.",
    "domain-fails": "A step of the check of a domain fails.",
    "no-proxy": "The daemon has told no proxy anything.",
    "proxy-fails": "The proxy cannot be asked.",
    "proxy-differs": "The proxy has something else than it is to have.",
    "no-remote-program": "With --host: the other host has no such program.",
}


class Failure(click.ClickException):
    """A failure of a command, with its reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Told(Failure):
    """A failure that people have read in the output of the command; only programs are told again."""

    def __init__(self, reason: str, message: str, *, exit_code: int = 1) -> None:
        super().__init__(reason, message)
        vars(self)["exit_code"] = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print nothing."""


class JsonFailure(click.ClickException):
    """A failure that is told as one line of JSON."""

    def __init__(self, error: click.ClickException) -> None:
        super().__init__(error.format_message())
        vars(self)["exit_code"] = error.exit_code
        self._facts = facts(error)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on standard error."""
        from reconciler.inspection.printable import json_text

        click.echo(json_text({"error": self._facts}), file=file, err=file is None)


def asks_for_json(command: click.Command | None, words: Iterable[str]) -> bool:
    """Return whether the words of a command ask for JSON, also where they are wrong."""
    before: list[str] = []
    for word in words:
        if word == "--":
            break
        before.append(word)
    if command is None:
        return "--json" in before
    return any(_asks_for_json(option, before) for option in command.params if isinstance(option, click.Option))


def _asks_for_json(option: click.Option, words: Sequence[str]) -> bool:
    name = option.opts[0]
    if name == "--json":
        return name in words
    if not isinstance(option.type, click.Choice) or "json" not in option.type.choices:
        return False
    given = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    given += [value for word, value in pairwise(words) if word == name]
    return "json" in (given or [option.value_from_envvar(click.Context(click.Command(None)))])


def facts(error: click.ClickException) -> dict[str, str]:
    """Return the reason and the message of a failure."""
    usage = isinstance(error, click.UsageError)
    return {"reason": getattr(error, "reason", "usage" if usage else "failed"), "message": error.format_message()}
