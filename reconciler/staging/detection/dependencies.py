"""An app's code in, the one file that says what it depends on, and everything that has a say in it, out.

What decides about the environment is all in `contents`: two apps whose contents are equal can share one. Code of the
app's own that is to be installed is in it too, so that such an app has a new environment with every edit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from packaging.specifiers import SpecifierSet

from reconciler.staging.detection import lockfiles
from reconciler.staging.detection.python_version import project_table, pyproject, tool_table
from reconciler.staging.detection.requirements import digest_of, place_of, requirements, tree_digest
from reconciler.staging.detection.tables import as_table, listed, table, text
from reconciler.staging.errors import StagingError

Kind: TypeAlias = Literal["none", "requirements", "uv", "pylock", "poetry", "pipenv", "project", "setup"]

_LOCKS: Mapping[str, Kind] = {
    "uv.lock": "uv",
    "pylock.toml": "pylock",
    "poetry.lock": "poetry",
    "Pipfile.lock": "pipenv",
}
_LOCKED = frozenset(_LOCKS.values())
_ITSELF = "the project itself"
_PROJECT = "pyproject.toml"
_NO_CHOICES = frozenset(("none", "requirements", "setup"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a manifest says about dependencies: a file, None to find it, and what of it beyond the default."""

    file: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """`file` relative to the code, "" for none, and why it is this one; `contents` a digest of each thing that matters.

    `trees` names those of the contents that are code to build, `itself` means that the project is one of them, as it
    is a package or its dependencies cannot be had without; `hashed` that every requirement must have a hash;
    `python` is what a lock file was made for.
    """

    kind: Kind
    file: str
    because: str
    contents: Mapping[str, str]
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    trees: frozenset[str] = frozenset()
    hashed: bool = False
    python: SpecifierSet = field(default_factory=SpecifierSet)

    @property
    def locked(self) -> bool:
        """Whether every version is decided already."""
        return self.kind in _LOCKED

    @property
    def directory(self) -> str:
        """Where the file is, relative to the code; "" is its top."""
        return self.file.rpartition("/")[0]

    @property
    def itself(self) -> bool:
        """Whether the project is installed as well."""
        return _ITSELF in self.trees

    @property
    def declared(self) -> Mapping[str, str]:
        """What is asked for, whatever the code to build looks like now."""
        return {name: digest for name, digest in self.contents.items() if name not in self.trees}


def dependencies(code: Path, asked: Choices) -> Dependencies:
    """The dependency file the manifest names, else the one there is; StagingError when that is not exactly one."""
    file, because = (asked.file, "`dependencies` in the manifest") if asked.file is not None else _only(code)
    found = _read(code, file, because)
    if (asked.extras or asked.groups) and found.kind in _NO_CHOICES:
        raise StagingError(
            f"cannot choose extras or groups of {file or 'no dependency file'}:"
            " only uv.lock, pylock.toml, poetry.lock, Pipfile.lock and pyproject.toml have them"
        )
    chosen = {"the extras and groups": json.dumps([asked.extras, asked.groups])} if asked.extras or asked.groups else {}
    return replace(
        found,
        extras=asked.extras,
        groups=asked.groups,
        contents={**found.contents, **chosen, **_configuration(code / found.directory)},
    )


def has_own_configuration(code: Path) -> bool:
    """Whether the code configures uv itself (indexes, constraints)."""
    return (code / "uv.toml").is_file() or "uv" in table(_PROJECT, pyproject(code), "tool")


def _only(code: Path) -> tuple[str, str]:
    found = [name for name in ("requirements.txt", *_LOCKS) if (code / name).is_file()]
    if len(found) > 1:
        raise StagingError(
            f"cannot choose between {' and '.join(found)}: name one in `dependencies`, or remove the other"
        )
    if found:
        return found[0], "the only dependency file"
    if project_table(code):
        return "pyproject.toml", "there is no lock file"
    _refuse_half(code)
    if (code / "setup.py").is_file():
        return "setup.py", "there is nothing else"
    return "", "no dependency file was found"


def _refuse_half(code: Path) -> None:
    """A project that another tool keeps, without the lock file that the tool would install from."""
    if (code / "Pipfile").is_file():
        raise StagingError("cannot install from Pipfile: there is no Pipfile.lock beside it; run `pipenv lock`")
    if "poetry" in table(_PROJECT, pyproject(code), "tool"):
        raise StagingError("cannot install from pyproject.toml: it is Poetry's, without poetry.lock; run `poetry lock`")


def _read(code: Path, file: str, because: str) -> Dependencies:
    if file == "":
        return Dependencies(kind="none", file="", because=because, contents={})
    path = code / file
    if not path.is_file():
        raise StagingError(f"cannot find the dependencies: there is no {file} in the source")
    if path.name in _LOCKS:
        return _lock(path, Dependencies(kind=_LOCKS[path.name], file=file, because=because, contents={}))
    if path.name == "pyproject.toml":
        return _project(path.parent, file, because)
    if path.name == "setup.py":
        return _built(Dependencies(kind="setup", file=file, because=because, contents={}), path.parent)
    if path.name == "Pipfile":
        _refuse_half(path.parent)
    found = requirements(code, file)
    return Dependencies(
        kind="requirements",
        file=file,
        because=because,
        contents=found.contents,
        trees=found.trees,
        hashed=found.hashed,
    )


def _built(found: Dependencies, directory: Path) -> Dependencies:
    """The same, with the project itself among what is to be built."""
    return replace(
        found,
        contents={**found.contents, _ITSELF: tree_digest(directory, found.file)},
        trees=found.trees | {_ITSELF},
    )


def _lock(path: Path, found: Dependencies) -> Dependencies:
    name, directory = path.name, path.parent
    lock = lockfiles.read(path)
    contents = {name: digest_of(path.read_text(encoding="utf-8", errors="replace"))}
    if found.kind == "pipenv":
        contents["Pipfile"] = _digest_if_there(directory / "Pipfile")
    else:
        contents["pyproject.toml"] = _asked_for(directory)
    trees: set[str] = set()
    for local in lockfiles.paths(name, lock):
        place = place_of(directory / local, f"{local} of {found.file}")
        if not place.is_relative_to(directory.resolve()) and not local.startswith("/"):
            raise StagingError(f"cannot install {local} of {found.file}: it is outside the source")
        contents[local] = tree_digest(place, f"{local} of {found.file}")
        trees.add(local)
    read = replace(found, contents=contents, trees=frozenset(trees), python=lockfiles.pythons(name, lock))
    return _built(read, directory) if found.kind == "uv" and _is_package(directory) else read


def _is_package(directory: Path) -> bool:
    """By uv's own rule: a project with a build system is one, unless it says otherwise."""
    said = pyproject(directory)
    return bool(tool_table(directory, "uv").get("package", "build-system" in said))


def _project(directory: Path, file: str, because: str) -> Dependencies:
    project = project_table(directory)
    if not project:
        _refuse_half(directory)
        raise StagingError(f"cannot install from {file}: it has no [project] table")
    if "dependencies" in listed(_PROJECT, project, "dynamic"):
        return _built(Dependencies(kind="project", file=file, because=because, contents={}), directory)
    contents, trees = {"pyproject.toml": _asked_for(directory)}, set()
    for package, sources in table(_PROJECT, tool_table(directory, "uv"), "sources").items():
        for each in sources if isinstance(sources, list) else [sources]:
            source = as_table(file, f"tool.uv.sources.{package}", each)
            if "path" in source:
                path, named = text(file, source, "path"), f"{package} of {file}"
                contents[path] = tree_digest(place_of(directory / path, named), named)
                trees.add(path)
            elif source.get("workspace"):
                raise StagingError(f"cannot install {package} of {file}: a workspace needs its uv.lock; run `uv lock`")
    return Dependencies(kind="project", file=file, because=because, contents=contents, trees=frozenset(trees))


def _asked_for(directory: Path) -> str:
    """A digest of the part of pyproject.toml that says what is needed, however the rest is edited."""
    said = pyproject(directory)
    project = project_table(directory)
    names = ("name", "dependencies", "optional-dependencies", "requires-python")
    poetry = tool_table(directory, "poetry")
    return digest_of(
        json.dumps(
            [
                {name: project[name] for name in names if name in project},
                said.get("dependency-groups", {}),
                {name: poetry[name] for name in ("dependencies", "group", "extras", "source") if name in poetry},
            ],
            sort_keys=True,
            default=str,
        )
    )


def _configuration(directory: Path) -> dict[str, str]:
    """What the code says to uv about indexes and sources, which decides about the environment as well."""
    contents = {}
    own = tool_table(directory, "uv")
    if own:
        contents["tool.uv of pyproject.toml"] = digest_of(json.dumps(own, sort_keys=True, default=str))
    if (directory / "uv.toml").is_file():
        contents["uv.toml"] = _digest_if_there(directory / "uv.toml")
    return contents


def _digest_if_there(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "none"
