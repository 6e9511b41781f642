"""Choose the apps that a command is about: names, patterns such as 'shop-*', or all of them."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import click

from reconciler.planning.name_patterns import NoMatch, chosen, is_pattern, no_match
from reconciler.planning.subject import Subject

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths


def chosen_apps(paths: "StatePaths", words: Sequence[str], *, everything: bool) -> list[str]:
    """Return the names of apps, each once; a name without a pattern is returned as it is, known or not.

    Raises UsageError unless there are words or all is meant, and ClickException for a pattern that matches nothing.
    """
    if bool(words) == everything:
        raise click.UsageError("give the names of apps, or --all")
    if not everything and not any(map(is_pattern, words)):
        return list(dict.fromkeys(words))
    known = desired_apps(paths)
    patterns = ["*"] if everything else [word for word in words if is_pattern(word)]
    if everything and not known:
        return []
    return among(known, patterns, also=[word for word in words if not is_pattern(word)])


def among(known: Collection[str], patterns: Sequence[str], *, also: Sequence[str] = ()) -> list[str]:
    """Return the known names that match the patterns, after those that are chosen anyway."""
    try:
        found = chosen(patterns, [Subject("app", name) for name in known])
    except NoMatch as error:
        raise click.ClickException(str(error)) from error
    return list(dict.fromkeys([*also, *(subject.name for subject in found)]))


def desired_apps(paths: "StatePaths") -> frozenset[str]:
    """Return the apps that the manifests in force describe."""
    from reconciler.cli.options import open_snapshot
    from reconciler.manifests import persisted

    with open_snapshot(paths) as snapshot:
        apps = persisted.remembered_facts(snapshot.records).get("apps", {})
    return frozenset(apps) if isinstance(apps, dict) else frozenset()


def meant(paths: "StatePaths", name: str) -> str:
    """Return what was probably meant by the name of an app that does not exist, "" if nothing is like it."""
    text = no_match(name, [Subject("app", known) for known in desired_apps(paths)])
    return text.partition("; ")[2]
