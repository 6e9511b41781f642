"""Find the files of an app that other platforms act on and staging does not, and say what an operator uses instead."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.staging.detection.bounded_json import parse_json
from reconciler.staging.detection.modules import find, read
from reconciler.staging.detection.target import EntryPoint
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import source_text

if TYPE_CHECKING:
    from reconciler.staging.detection.dependencies import Dependencies

_COMMANDS = "none of its commands runs; use the fields 'entrypoint' and 'release'"
_HOOK = "it does not run; use the field 'release'"
_RENAME = "rename it to .reconcilerignore"
_CONDA = "staging does not use conda; list the packages in requirements.txt"
_NAME_IT = "name it in the field 'dependencies'"
_VARIABLES = "use the fields 'env' and 'env_files'"

# Files that decide something on another platform wherever they are, and what to use here.
UNREAD: Mapping[str, str] = MappingProxyType({
    "bin/pre_compile": _HOOK,
    "bin/post_compile": _HOOK,
    "nltk.txt": "use the field 'release' with `python -m nltk.downloader`",
    "Aptfile": "install its packages on this host",
    "apt.txt": "install its packages on this host",
    ".profile": _VARIABLES,
    "ENV": _VARIABLES,
    "app.json": "use the fields 'env' and 'release'",
    "CHECKS": "use the field 'health'",
    ".cfignore": _RENAME,
    ".slugignore": _RENAME,
    ".gcloudignore": _RENAME,
    "Dockerfile": _COMMANDS,
    "app.yaml": _COMMANDS,
    "apprunner.yaml": _COMMANDS,
    "fly.toml": _COMMANDS,
    "heroku.yml": _COMMANDS,
    "nixpacks.toml": _COMMANDS,
    "project.toml": _COMMANDS,
    "railpack.json": _COMMANDS,
    "railway.json": _COMMANDS,
    "railway.toml": _COMMANDS,
    "render.yaml": _COMMANDS,
    "supervisord.conf": _COMMANDS,
    "vercel.json": _COMMANDS,
    ".platform.app.yaml": _COMMANDS,
    ".ebextensions": _COMMANDS,
})  # fmt: skip
# The same of files that list packages.
UNREAD_PACKAGES: Mapping[str, str] = MappingProxyType({
    "environment.yml": _CONDA,
    "environment.yaml": _CONDA,
    "conda-lock.yml": _CONDA,
    "pixi.toml": _CONDA,
    "pixi.lock": _CONDA,
    "pdm.lock": "staging does not use PDM; run `pdm export --output requirements.txt`",
})  # fmt: skip
# Of the standard library of Pythons newer than the one that runs this.
_NEWER_MODULES = ("annotationlib", "compression")
_MAX_LISTED = 3


def unread_files(code: Path, dependencies: "Dependencies") -> Iterator[str]:
    """Yield a report of each such file."""
    directory = code / dependencies.directory
    for places, files in ((dict.fromkeys((code, directory)), UNREAD), ((directory,), UNREAD_PACKAGES)):
        for place in places:
            present = {path.name for path in place.iterdir()} if place.is_dir() else set()
            for name, instead in files.items():
                if name.partition("/")[0] in present and (place / name).exists():
                    yield f"{(place / name).relative_to(code)} ({instead})"
    yield from _other_requirements(code, dependencies)
    yield from _front_end(code)
    yield from _cloud_foundry(code)


def missing_packages(code: Path, entry: EntryPoint) -> str:
    """Return what the served module imports and nothing installs, for an app without a dependency file; "" for none."""
    tops = [code / path for path in (entry.chdir, *entry.pythonpath)]
    module = next((path for top in tops if (path := find(entry.target.partition(":")[0], top))), None)
    if module is None:
        return ""
    places = {*tops, code, module.parent}
    imported = dict.fromkeys(origin.partition(".")[0] for origin in read(module, code).imported.values())
    present = {*sys.stdlib_module_names, *_NEWER_MODULES, "gunicorn", "packaging", ""}
    absent = [name for name in imported if name not in present and not any(_is_in(top, name) for top in places)]
    if not absent:
        return ""
    return f"no dependency file was found, but {module.relative_to(code)} imports {', '.join(absent[:_MAX_LISTED])}"


def _is_in(top: Path, name: str) -> bool:
    return (top / name).exists() or (top / f"{name}.py").exists()


def _other_requirements(code: Path, dependencies: "Dependencies") -> Iterator[str]:
    """Yield files of requirements that only a name in the manifest makes count, where nothing else lists any."""
    if dependencies.kind != "none":
        return
    found = [*sorted(code.glob("requirements/*.txt")), *sorted(code.glob("*requirements*.txt"))]
    for path in found[:_MAX_LISTED]:
        yield f"{path.relative_to(code)} ({_NAME_IT})"
    if len(found) > _MAX_LISTED:
        yield f"{len(found) - _MAX_LISTED} more files of requirements"
    for path in sorted(code.glob("requirements*.in"))[:_MAX_LISTED]:
        yield f"{path.name} (compile it to requirements.txt, with `uv pip compile`)"


def _front_end(code: Path) -> Iterator[str]:
    try:
        scripts = parse_json(source_text(code / "package.json"))["scripts"]
    except (OSError, StagingError, ValueError, KeyError, TypeError, RecursionError):
        return
    if isinstance(scripts, dict) and "build" in scripts:
        yield "the build script of package.json (it does not run; build the front end before the source is copied)"


def _cloud_foundry(code: Path) -> Iterator[str]:
    for name in ("manifest.yml", "manifest.yaml"):
        try:
            text = source_text(code / name)
        except (OSError, StagingError):
            continue
        if re.search(r"^applications:", text, re.MULTILINE):
            yield f"{name} of Cloud Foundry (write what it says in the app's manifest, field by field)"
