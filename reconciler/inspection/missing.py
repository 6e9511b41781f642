"""Find what valid manifests name and is not there, what staging would refuse, and data that a deploy would lose.

None of it refuses a manifest: a file or a service may be added later, and the daemon waits for it.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reconciler.documents.problem import Path as Place
from reconciler.documents.problem import Problem, dotted
from reconciler.documents.schema_checks import suggestion
from reconciler.linux.listing import is_directory, is_file
from reconciler.linux.named_files import withheld
from reconciler.linux.readable_paths import readable_path
from reconciler.planning.wording import persist_field, unnamed

if TYPE_CHECKING:
    from reconciler.manifests.catalog import Catalog
    from reconciler.manifests.manifest_file import ManifestFile
    from reconciler.manifests.service_document import ServiceDocument
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.revision import Recipe
    from reconciler.staging.foreseen import HostPythons

_Found: TypeAlias = tuple[Place, str]

_NOTHING_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_PATH: Place = ("path",)
_PAGE: Place = ("holding_page",)


def warnings_of(
    catalog: "Catalog", directory: Path, state: Path | None = None, interpreters: Iterable[str] = ()
) -> Iterator[Problem]:
    """Yield the warnings about every manifest in force, file by file.

    `directory` is that of the manifests, `state` that of the daemon's state, `interpreters` are those of the settings.

    Only a file with a warning is parsed again, for its lines.
    """
    names, forecast = _Names(catalog), StagingForecast(interpreters)
    sources = _Sources(os.path.realpath(directory), "" if state is None else os.path.realpath(state))
    for entry in catalog.files.values():
        found = [
            *((one.line, found) for one in entry.in_force for found in _of_app(one.unleased, names)),
            *((one.line, found) for one in entry.in_force for found in _of_canary(one.unleased)),
            *((one.line, found) for one in entry.in_force for found in sources.of(one.unleased)),
            *((one.line, found) for one in entry.in_force for found in forecast.of(one.unleased)),
            *((one.line, warning) for one in entry.services_in_force for warning in _of_service(one)),
        ]
        if found:
            yield from _placed(entry, found)


class StagingForecast:
    """What staging would refuse of the sources of apps; one that several apps share is looked at once."""

    def __init__(self, interpreters: Iterable[str]) -> None:
        self._interpreters = tuple(interpreters)
        self._pythons: HostPythons | None = None
        self._found: dict[tuple[str | None, ...], tuple[_Found, ...]] = {}

    def of(self, app: "App") -> tuple[_Found, ...]:
        """Return the field at fault and what is wrong, for a source that is a directory."""
        source, recipe = app.source.path, app.recipe
        if not source:
            return ()  # in a repository, and not known here
        from reconciler.planning.apps.gunicorn_fields import fields_of_gunicorn

        unfit = fields_of_gunicorn(app.server, app.env)
        if app.server.access_log is not True:
            unfit = (*unfit, "access_log")  # which a program that serves by itself starts with all the same
        key = (
            source,
            recipe.runtime,
            recipe.entrypoint,
            recipe.dependencies,
            *recipe.command,
            *recipe.build,
            *unfit,
            str(recipe.web),
        )
        if key not in self._found:
            self._found[key] = tuple(self._look(source, recipe, unfit))
        return self._found[key]

    def _look(self, source: str, recipe: "Recipe", unfit: tuple[str, ...]) -> Iterator[_Found]:
        if not is_directory(source):
            return
        from reconciler.staging.foreseen import HostPythons, foreseen

        self._pythons = self._pythons or HostPythons(self._interpreters)
        for field, message in foreseen(Path(source), recipe, self._pythons, unfit):
            yield (field,), message


class _Names:
    """The apps and services that manifests describe, and the text of refused files, which may describe others."""

    def __init__(self, catalog: "Catalog") -> None:
        self.apps = frozenset(catalog.apps)
        self.services = frozenset(catalog.services)
        self._refused = [entry for entry in catalog.files.values() if entry.problems]

    def missing(self, kind: str, name: str) -> str | None:
        """Return the warning for a name that no manifest describes, None for one that some manifest may describe."""
        known = self.apps if kind == "app" else self.services
        if name in known or any(_may_describe(entry, name) for entry in self._refused):
            return None
        meant = suggestion(name, known)
        hint = f"; did you mean '{meant}'?" if meant else "; the app waits until one does"
        return f"no manifest describes {'an app' if kind == 'app' else 'a service'} named '{name}'{hint}"


def _may_describe(refused: "ManifestFile", name: str) -> bool:
    from reconciler.manifests.parse_file import name_of_file

    text = refused.content if isinstance(refused.content, bytes) else refused.content.encode()
    return name_of_file(refused.file) == name or name.encode() in text


def _of_canary(app: "App") -> Iterator[_Found]:
    if app.canary is None:
        return
    from reconciler.linux.shared_ports import why_not  # most apps have none

    if problem := why_not():
        yield ("canary",), f"this kernel does not divide connections ({problem}): a new revision takes over at once"
    if app.release:
        text = "runs before the canary is tried, while the revision before it serves: what it changes must suit both"
        yield ("release",), text


def _of_app(app: "App", names: _Names) -> Iterator[_Found]:
    for number, binding in enumerate(app.bindings):
        if message := names.missing("service", binding.service):
            yield ("services", number), message
    for number, other in enumerate(app.depends_on):
        if message := names.missing("app", other):
            yield ("depends_on", number), message
    files: list[tuple[Place, str]] = [(("env", name, "file"), path) for name, path in app.env_files.items()]
    files += [(("env_files", number), path) for number, path in enumerate(app.env_lists)]
    for kind, parts in (("processes", app.processes), ("schedules", app.schedules)):
        for part in parts:
            files += [((kind, part.name, "env", name, "file"), path) for name, path in part.env_files.items()]
    files += [(_PAGE, app.holding_page)] if app.holding_page else []
    if app.schedules:
        from reconciler.inspection.changed_nights import files_of_pings, nights  # most apps have none

        yield from nights(app.schedules)
        files += files_of_pings(app.schedules)
    yield from _absent(files)


def _of_service(document: "ServiceDocument") -> Iterator[_Found]:
    asked = document.service.asked
    files: list[tuple[Place, str]] = []
    if isinstance(given := asked.get("credentials"), dict):
        files += [
            (("credentials", name, "file"), str(value["file"]))
            for name, value in given.items()
            if isinstance(value, dict) and "file" in value
        ]
    if "credentials_file" in asked:
        files.append((("credentials_file",), str(asked["credentials_file"])))
    yield from _absent(files)


def _absent(files: Iterable[tuple[Place, str]]) -> Iterator[_Found]:
    for place, path in files:
        if _is_absent(Path(path)):
            yield place, f"there is no file {readable_path(path)}"
        elif why := withheld(path, public=place == _PAGE):
            yield place, f"{readable_path(path)} is not read: {why}"


class _Sources:
    """What is wrong with where the sources of apps are; one that several apps share is looked at once."""

    def __init__(self, manifests: str, state: str) -> None:
        """Both paths have their links resolved."""
        self._manifests = manifests
        self._state = state
        self._misplaced: dict[str, tuple[_Found, ...]] = {}
        self._kept: dict[str, tuple[str, ...]] = {}

    def of(self, app: "App") -> Iterator[_Found]:
        """Warn of a source that is not there, or has in it what it should not."""
        path = app.source.path
        if not path:
            return  # the same
        if path not in self._misplaced:
            source = Path(path)
            self._misplaced[path] = tuple(self._look(source))
            self._kept[path] = _kept_beside_code(source)
        yield from self._misplaced[path]
        if lost := _lost_data(app, self._kept[path]):
            remedy = f"add '{persist_field(lost)}' to keep {'it' if len(lost) == 1 else 'them'}{unnamed(lost)}"
            yield _PATH, f"the app keeps {' and '.join(lost)} beside its code, which a deploy replaces; {remedy}"

    def _look(self, source: Path) -> Iterator[_Found]:
        if _is_absent(source):
            yield _PATH, f"there is no directory or archive {readable_path(source)}"
            return
        if not is_directory(source):
            return
        inside = f"{os.path.realpath(source)}/"
        if f"{self._manifests}/".startswith(inside):
            where = f"{readable_path(source)} contains the manifests"
            yield _PATH, f"{where}, so every edit of a manifest deploys it again; move them outside"
        if self._state.startswith(inside):
            yield _PATH, "contains the daemon's state directory; it is left out"


def _kept_beside_code(source: Path) -> tuple[str, ...]:
    """Return what a Django project keeps beside its code."""
    has_project = is_directory(source) and (is_file(source / "manage.py") or any(source.glob("*/manage.py")))
    if not has_project:
        return ()  # so that nothing of staging is loaded
    from reconciler.staging.detection.local_data import local_data

    return tuple(local_data(source))


def _lost_data(app: "App", kept: tuple[str, ...]) -> list[str]:
    """Return what a deploy would replace; of an app with services, the database is one of these."""
    if not kept:
        return []
    from reconciler.staging.detection.local_data import DATABASES

    found = [path for path in kept if not (app.bindings and path.endswith(DATABASES))]
    return [path for path in found if not app.recipe.persists(path)]


def _is_absent(path: Path) -> bool:
    """Return whether nothing is there; what this user may not see may be there for the daemon."""
    try:
        path.stat()
    except OSError as error:
        return error.errno in _NOTHING_THERE
    return False


def _placed(entry: "ManifestFile", found: Iterable[tuple[int, _Found]]) -> Iterator[Problem]:
    """Yield the warnings with their lines in the file, in their order."""
    from reconciler.documents.text import text_of
    from reconciler.documents.tree import trees_of

    text = text_of(entry.file, entry.content) if isinstance(entry.content, bytes) else ""
    trees = {tree.line: tree for tree in trees_of(entry.file, text)[0]} if isinstance(text, str) else {}
    placed = []
    for document, (place, message) in found:
        node = trees[document].at(place) if document in trees else None
        line, column = (node.line, node.column) if node else (document, 1)
        placed.append(Problem(file=entry.file, line=line, column=column, path=dotted(place), message=message))
    yield from sorted(placed, key=lambda problem: (problem.line, problem.column))
