"""Where an environment's packages come from when no index is asked: a bundle, or a directory of wheels and sdists.

A bundle says what it holds, and for what; one that does not suit, or lacks a file, is refused before anything is
installed from it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.staging.detection.dependencies import Dependencies
from reconciler.staging.detection.requirements import tree_digest
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.errors import StagingError

BUNDLE = "app.bundle"
INDEX = "index.json"
PINS = "requirements.txt"
VENDOR = "vendor"
_PACKAGES = ("*.whl", "*.tar.gz", "*.zip")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflinePackages:
    """Packages beside the code: `name` as its user knows it, `place` the file or directory, `digest` of all of it."""

    name: str
    place: Path
    digest: str

    @property
    def is_bundle(self) -> bool:
        return self.name == BUNDLE


def find_offline_packages(code: Path) -> OfflinePackages | None:
    """What the code brings along: an app.bundle, else a vendor/ with packages in it; None when it brings nothing."""
    bundle, vendor = code / BUNDLE, code / VENDOR
    if bundle.is_file():
        return OfflinePackages(name=BUNDLE, place=bundle, digest=tree_digest(bundle, BUNDLE))
    if vendor.is_dir() and any(next(vendor.glob(pattern), None) for pattern in _PACKAGES):
        return OfflinePackages(name=f"{VENDOR}/", place=vendor, digest=tree_digest(vendor, VENDOR))
    return None


def opened(bundle: Path, directory: Path, runtime: Runtime, dependencies: Dependencies) -> tuple[str, ...]:
    """Unpack a bundle into `directory`; returns the code to build and install beside it. StagingError.

    It must have been made from the same dependencies, for the same kind of Python, and be whole.
    """
    from reconciler.staging.source.archive import unpack

    try:
        unpack(bundle, directory)
        index: dict[str, Any] = json.loads((directory / INDEX).read_bytes())
        made_for, files = index["runtime"], dict(index["files"])
        asked: Mapping[str, str] = index["dependencies"]
        built: list[str] = index["built"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StagingError(
            f"cannot use {BUNDLE}: it is not a bundle ({error}); make it with `reconciler bundle`"
        ) from error
    if made_for != abi(runtime):
        raise StagingError(
            f"cannot use {BUNDLE}: it was made for {made_for}, and the app runs on {abi(runtime)};"
            f" make it again with `reconciler bundle --runtime {runtime.name}`"
        )
    changed = [
        name for name in {**asked, **dependencies.declared} if asked.get(name) != dependencies.declared.get(name)
    ]
    if changed:
        raise StagingError(f"cannot use {BUNDLE}: {', '.join(changed)} changed since it was made; make it again")
    for name, digest in files.items():
        path = directory / name
        if not path.is_file():
            raise StagingError(f"cannot use {BUNDLE}: it lacks {name}, which its index lists; make it again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise StagingError(f"cannot use {BUNDLE}: {name} is not what its index says; make it again")
    return tuple(built)


def abi(runtime: Runtime) -> str:
    """The kind of Python that wheels are made for: its name and its release's first two numbers."""
    return runtime.name
