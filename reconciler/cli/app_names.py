"""Choose the apps that a command is about: names, patterns such as 'shop-*', or all of them."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.planning.name_patterns import NoMatch, chosen, is_pattern, likely
from reconciler.planning.subject import Subject

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths


def chosen_apps(paths: "StatePaths", words: Sequence[str], *, everything: bool) -> list[str]:
    """Return the names of apps, each once; a name without a pattern is returned as it is, known or not.

    Raises UsageError unless there are words or all is meant, and Failure for a pattern that matches nothing.
    """
    if bool(words) == everything:
        raise click.UsageError("give the names of apps, or --all")
    if everything:
        return sorted(desired_apps(paths))
    if not any(map(is_pattern, words)):
        return list(dict.fromkeys(words))
    return among(desired_apps(paths), words)


def among(known: Collection[str], words: Sequence[str]) -> list[str]:
    """Return the words without a pattern, known or not, and then the known names that the others match.

    Raises Failure for a pattern that matches nothing.
    """
    try:
        found = chosen([word for word in words if is_pattern(word)], [Subject("app", name) for name in known])
    except NoMatch as error:
        raise Failure("not-found", str(error)) from error
    names = (word for word in words if not is_pattern(word))
    return list(dict.fromkeys((*names, *(subject.name for subject in found))))


def desired_apps(paths: "StatePaths") -> frozenset[str]:
    """Return the apps that the manifests in force describe."""
    from reconciler.cli.options import open_snapshot

    with open_snapshot(paths) as snapshot:
        apps = snapshot.desired.get("apps", {})
    return frozenset(apps) if isinstance(apps, dict) else frozenset()


def meant(known: Iterable[str], name: str) -> str:
    """Return what was probably meant by the name of an app that does not exist, "" if nothing is like it."""
    return likely(name, [Subject("app", each) for each in known])
