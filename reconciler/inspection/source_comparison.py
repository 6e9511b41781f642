"""Show in which files and lines two sources differ, as people may see it: bounded, and without secrets.

Of a binary or large file, and of one that holds secrets, only the name is shown; what an app was given is redacted from
the lines of the others.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.staging.differences import (
    ChangedFile,
    SourceDifference,
    Tree,
    compare,
    texts,
    tree_of_build,
    tree_of_source,
    unified,
)
from reconciler.staging.errors import SourceError
from reconciler.vault.env_files import files_of_variables
from reconciler.vault.secret_files import holds_secrets, without_secrets
from reconciler.vault.secret_patterns import LineRedactor
from reconciler.vault.secret_texts import SecretTexts

if TYPE_CHECKING:
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import Observed
    from reconciler.planning.apps.revision import Build
    from reconciler.state.paths import StatePaths

_HIDDEN = "not shown: it holds secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFile:
    """A file that differs: `title` names it, `lines` are those of a unified difference, with its head."""

    title: str
    lines: tuple[str, ...] = ()

    def flat(self) -> tuple[str, ...]:
        """Return the lines, or the title where there are none."""
        return self.lines or (self.title,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceComparison:
    """Two sources, of which the paths in `given` are files that an app takes variables from, and how they differ."""

    before: Tree
    after: Tree
    given: frozenset[str]
    difference: SourceDifference

    def shown(self, secrets: SecretTexts) -> Iterator[ShownFile]:
        """Yield each file with its lines, which are read as they are asked for."""
        for changed in self.difference.files:
            redactor = LineRedactor(secrets)  # what one file begins, another does not end
            title = redactor.redacted(f"{changed}")
            contents = self._texts(changed)
            if changed.path in self.given or holds_secrets(changed.path, *contents):
                yield ShownFile(title=f"{title}, {_HIDDEN}")
            else:
                found = (without_secrets(changed.path, line) for line in unified(changed, *contents))
                lines = tuple(redactor.redacted(line) for line in found)
                yield ShownFile(title=title, lines=lines)

    def _texts(self, changed: ChangedFile) -> tuple[bytes, bytes]:
        with contextlib.suppress(OSError):  # it vanished, or is another one by now
            return texts(self.before, self.after, changed)
        return b"", b""


def compared(before: Tree, after: Tree, *, source: str, files: Iterable[str]) -> SourceComparison:
    """Compare two states of the source in a directory; of `files`, absolute paths, those in it are not shown."""
    root = os.path.realpath(source or "/")
    inside = (os.path.relpath(os.path.realpath(file), root) for file in files)
    given = frozenset(path for path in inside if not path.startswith("../"))
    return SourceComparison(before=before, after=after, given=given, difference=compare(before, after))


def source_comparison(
    paths: "StatePaths",
    app: "App",
    observed: "Observed",
    files: Iterable[str] = (),
    place: Callable[[str], str] = str,
) -> SourceComparison | str | None:
    """Compare the source of the build that serves or served last with the one that is to serve.

    Returns why where it cannot be compared, and None where it is the same, or where there is no build to compare with.
    `place` says where a file is read.
    """
    serving = next((instance.build for instance in observed.instances if instance.serves), None)
    before_id = serving or next((revision.build.id for revision in observed.known_good), None)
    wanted = _wanted(app, observed)
    if before_id is None or wanted is None or wanted.id == before_id:
        return None
    before = tree_of_build(paths.builds(app.name) / before_id)
    if before is None:
        return f"build {before_id} is not kept"
    after = tree_of_build(paths.builds(app.name) / wanted.id)
    try:
        if after is None and app.source.missing:
            return f"there is no other source: {app.source.missing}"
        if after is None and observed.source is not None and wanted.content == observed.source.content:
            after = tree_of_source(place(app.source.path))
            if after is None:
                return "the source is an archive, which is compared once it is staged"
            after = _without_persisted(after, wanted)
    except (OSError, SourceError) as error:
        return f"the source cannot be read: {error}"
    if after is None:
        return f"build {wanted.id} is not kept"
    given = map(place, (*files, *files_of_variables(app)))
    return compared(before, after, source=place(app.source.path), files=given)


def _wanted(app: "App", observed: "Observed") -> "Build | None":
    """Return the build of the revision that is to serve; None while the source is not known."""
    if observed.override is not None and observed.override.revision is not None:
        return observed.override.revision.build
    return None if observed.source is None else app.build(observed.source.content)


def _without_persisted(tree: Tree, build: "Build") -> Tree:
    """Leave out what every build of an app shares, which is in none of them."""
    kept = {path: stats for path, stats in tree.entries.items() if not build.recipe.persists(path)}
    return replace(tree, entries=kept)
