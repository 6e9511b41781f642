"""Read the one file that lists an app's dependencies, and digest everything that decides about its environment.

Two apps whose `contents` are equal can share an environment. Code of the app that is installed is part of them, so such
an app gets a new environment with every edit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.dependency_file import SETUP, found_file, not_there, refuse_missing_lock
from reconciler.staging.detection.digest_names import ITSELF, OPTIONS
from reconciler.staging.detection.lockfiles.format import LockFormat
from reconciler.staging.detection.lockfiles.registry import LOCK_FORMATS
from reconciler.staging.detection.pyproject import FILE as PYPROJECT
from reconciler.staging.detection.pyproject import declared_digest, is_package, project_table, pyproject, tool_table
from reconciler.staging.detection.python_bounds import PythonBounds
from reconciler.staging.detection.requirements import built_digest, digest_of, requirements, resolved_path, tree_digest
from reconciler.staging.detection.tables import as_table, items, table, text
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import LARGEST_LOCK, read_source, source_text

Kind: TypeAlias = Literal["none", "requirements", "lock", "project", "setup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyOptions:
    """The `dependencies` of a manifest: a file, None to find it, and the extras and groups to install from it."""

    file: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """An app's dependency file and all that decides about its environment.

    `file` is relative to the code, "" for none; `because` says why it was chosen; `contents` has a digest of each
    input by its name. `trees` names those of the contents that are code to build, the project itself among them if it
    is a package or its dependencies are dynamic. `lock` is the format of a lock file, None for any other file, and
    `python` what the lock was made for. `hashed` says that every requirement must have a hash; `variables` are
    those that requirements name, each with the file that does; `optional` says that a project which cannot be built is
    served from where it is.
    """

    kind: Kind
    file: str
    because: str
    contents: Mapping[str, str]
    lock: LockFormat | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    trees: frozenset[str] = frozenset()
    hashed: bool = False
    optional: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    python: PythonBounds = field(default_factory=PythonBounds)

    @property
    def directory(self) -> str:
        """The directory of the file, relative to the code; "" is its top."""
        return self.file.rpartition("/")[0]

    @property
    def itself(self) -> bool:
        """True if the project is installed as well."""
        return ITSELF in self.trees

    @property
    def declared(self) -> Mapping[str, str]:
        """The contents without the code to build: they change only when other packages are required."""
        return {name: digest for name, digest in self.contents.items() if name not in self.trees}


def dependencies(code: Path, options: DependencyOptions) -> Dependencies:
    """Return the dependencies that the manifest names, else those found; raises StagingError if they are ambiguous."""
    if options.file is not None:
        file, because = options.file, "`dependencies` in the manifest"
    else:
        file, because = found_file(code)
    found = _read(code, file, because)
    _check_options(found, options)
    chosen = {}
    if options.extras or options.groups:
        chosen = {OPTIONS: json.dumps([options.extras, options.groups])}
    return replace(
        found,
        extras=options.extras,
        groups=options.groups,
        contents={**found.contents, **chosen, **_uv_configuration(code / found.directory)},
    )


def has_uv_configuration(code: Path) -> bool:
    """Tell whether the code configures uv (indexes, constraints)."""
    return (code / "uv.toml").is_file() or "uv" in table(PYPROJECT, pyproject(code), "tool")


def _check_options(found: Dependencies, options: DependencyOptions) -> None:
    if found.lock is not None and options.extras and not found.lock.has_extras:
        raise StagingError(f"cannot choose extras of {found.file}: it has only groups")
    if (options.extras or options.groups) and found.lock is None and found.kind != "project":
        supported = (*LOCK_FORMATS, PYPROJECT)
        raise StagingError(
            f"cannot choose extras or groups of {found.file or 'an app without a dependency file'}:"
            f" only {', '.join(supported[:-1])} and {supported[-1]} have them"
        )


def _read(code: Path, file: str, because: str) -> Dependencies:
    if file == "":
        return Dependencies(kind="none", file="", because=because, contents={})
    path = code / file
    if not path.is_file():
        raise not_there(file)
    lock = LOCK_FORMATS.get(path.name)
    if lock is not None:
        return _locked(path, lock, Dependencies(kind="lock", file=file, because=because, contents={}, lock=lock))
    if path.name == PYPROJECT:
        return _project(path.parent, file, because)
    if path.name == SETUP:
        return _with_project(Dependencies(kind="setup", file=file, because=because, contents={}), path.parent)
    if path.name in {lock.project for lock in LOCK_FORMATS.values()}:
        refuse_missing_lock(path.parent)
    found = requirements(code, file)
    return Dependencies(
        kind="requirements",
        file=file,
        because=because,
        contents=found.contents,
        trees=found.trees,
        hashed=found.hashed,
        variables=found.variables,
    )


def _with_project(found: Dependencies, directory: Path) -> Dependencies:
    """Return the dependencies with the project itself among the code to build."""
    return replace(
        found,
        contents={**found.contents, ITSELF: tree_digest(directory, found.file)},
        trees=found.trees | {ITSELF},
    )


def _locked(path: Path, lock: LockFormat, found: Dependencies) -> Dependencies:
    directory, content = path.parent, lock.read(path)
    contents = {
        lock.file: digest_of(source_text(path, most=LARGEST_LOCK).replace("\r\n", "\n").replace("\r", "\n")),
        lock.project: lock.project_digest(directory),
    }
    trees: set[str] = set()
    for local in lock.paths(content):
        name = f"{local} of {found.file}"
        tree = resolved_path(directory / local, name)
        if not tree.is_relative_to(directory.resolve()) and not local.startswith("/"):
            raise StagingError(f"cannot install {name}: it is outside the source")
        contents[local] = built_digest(tree, name, directory)
        trees.add(local)
    read = replace(found, contents=contents, trees=frozenset(trees), python=lock.pythons(content))
    itself = lock.installs_project(directory) or "." in lock.local_paths(content)
    return replace(_with_project(read, directory), optional=lock.optional_project) if itself else read


def _project(directory: Path, file: str, because: str) -> Dependencies:
    project = project_table(directory)
    if not project:
        refuse_missing_lock(directory)
        raise StagingError(f"cannot install from {file}: it has no [project] table")
    if "dependencies" in items(PYPROJECT, project, "dynamic"):
        return _with_project(Dependencies(kind="project", file=file, because=because, contents={}), directory)
    contents, trees = {PYPROJECT: declared_digest(directory)}, set()
    for package, sources in table(PYPROJECT, tool_table(directory, "uv"), "sources").items():
        for each in sources if isinstance(sources, list) else [sources]:
            source = as_table(file, f"tool.uv.sources.{package}", each)
            if "path" in source:
                path, name = text(file, source, "path"), f"{package} of {file}"
                contents[path] = built_digest(resolved_path(directory / path, name), name, directory)
                trees.add(path)
            elif source.get("workspace"):
                raise StagingError(
                    f"cannot install {package} of {file}: a workspace can only be installed from uv.lock; run `uv lock`"
                )
    found = Dependencies(kind="project", file=file, because=because, contents=contents, trees=frozenset(trees))
    return replace(_with_project(found, directory), optional=True) if is_package(directory) else found


def _uv_configuration(directory: Path) -> dict[str, str]:
    """Return digests of the indexes and sources that the code configures for uv: they decide what is installed."""
    contents = {}
    own = tool_table(directory, "uv")
    if own:
        contents["tool.uv of pyproject.toml"] = digest_of(json.dumps(own, sort_keys=True, default=str))
    if (directory / "uv.toml").is_file():
        contents["uv.toml"] = hashlib.sha256(read_source(directory / "uv.toml")).hexdigest()
    return contents
