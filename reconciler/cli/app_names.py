"""Choose the apps that a command is about: names, patterns such as 'shop-*', or all of them."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import refuse_both
from reconciler.inspection.printable import plain
from reconciler.planning.name_patterns import SERVICE_PREFIX, NoMatch, chosen, is_pattern, likely
from reconciler.planning.subject import Subject

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths


def chosen_apps(paths: "StatePaths", words: Sequence[str], *, everything: bool) -> list[str]:
    """Return the names of apps, each once; a name without a pattern is returned as it is, known or not.

    Raises UsageError unless there are words or all is meant, and Failure for a pattern that matches nothing.
    """
    refuse_both(words, everything=everything)
    if everything:
        return sorted(desired_apps(paths))
    if not words:
        raise click.UsageError("give the names of apps, or --all")
    _require_apps(words)
    patterns = [word for word in words if is_pattern(word)]
    found = existing_apps(desired_apps(paths), patterns) if patterns else []
    return list(dict.fromkeys((*(word for word in words if not is_pattern(word)), *found)))


def shown_apps(known: Collection[str], words: Sequence[str]) -> list[str]:
    """Return the known names that the words choose, each once; all of them without a word.

    Raises Failure for a word that chooses none.
    """
    return existing_apps(known, words) if words else sorted(known)


def existing_apps(known: Collection[str], words: Sequence[str], having: str = "") -> list[str]:
    """Return the known names that the words choose, each once.

    Raises Failure for a word that chooses none; `having` says in its message what the known names have.
    """
    _require_apps(words)
    try:
        return [subject.name for subject in chosen(words, [Subject("app", name) for name in known])]
    except NoMatch as error:
        raise Failure("not-found", plain(error.told("'reconciler status' lists the apps", having))) from error


def _require_apps(words: Sequence[str]) -> None:
    if any(word.startswith(SERVICE_PREFIX) for word in words):
        raise click.UsageError("this command is about apps; 'reconciler services' shows the services")


def process_named(paths: "StatePaths", words: Sequence[str]) -> tuple[str, str] | None:
    """Return the app and the process that APP PROCESS or APP/PROCESS names, None if the words are apps.

    A second word that is an app is one; any other, behind an app that has processes, is meant as one of them.
    """
    if len(words) == 1 and "/" in words[0] and not words[0].startswith(SERVICE_PREFIX):
        app, _, process = words[0].partition("/")
        return app, process
    if len(words) != 2:
        return None
    from reconciler.cli.options import open_snapshot

    with open_snapshot(paths) as snapshot:
        apps = snapshot.desired.get("apps", {})
    app, process = words
    is_app = process in apps or is_pattern(process) or is_pattern(app)
    return (app, process) if not is_app and apps.get(app, {}).get("processes") else None


def desired_apps(paths: "StatePaths") -> frozenset[str]:
    """Return the apps that the manifests in force describe."""
    from reconciler.cli.options import open_snapshot

    with open_snapshot(paths) as snapshot:
        apps = snapshot.desired.get("apps", {})
    return frozenset(apps) if isinstance(apps, dict) else frozenset()


def meant(known: Iterable[str], name: str) -> str:
    """Return what was probably meant by the name of an app that does not exist, "" if nothing is like it."""
    return likely(name, [Subject("app", each) for each in known])
