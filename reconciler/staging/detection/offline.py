"""Find packages in an app's source that replace an index: a bundle, or a directory of wheels and sdists.

A bundle that is for another Python, for other dependencies, or incomplete is refused before anything is installed.
"""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.bounded_json import parse_json
from reconciler.staging.detection.dependencies import Dependencies
from reconciler.staging.detection.package_names import canonical
from reconciler.staging.detection.requirements import tree_digest
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.errors import SourceError, StagingError
from reconciler.staging.source import allowance
from reconciler.staging.source.reading import LARGEST_LOCK, file_digest, read_source

BUNDLE = "app.bundle"
INDEX = "index.json"
PINS = "requirements.txt"
VENDOR = "vendor"
_PACKAGES = ("*.whl", "*.tar.gz", "*.zip")
_SDIST_FILE = re.compile(r"[^/]+/(?:PKG-INFO|setup\.py|pyproject\.toml)")
_MEMBERS_LOOKED_AT, _BYTES_LOOKED_AT = 1000, 64 << 20
_FIX = "run `reconciler bundle` again"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflinePackages:
    """Packages in an app's source: `name` is what an operator calls them, `path` the file or directory."""

    name: str
    path: Path
    digest: str

    @property
    def is_bundle(self) -> bool:
        return self.name == BUNDLE


def find_offline_packages(code: Path) -> OfflinePackages | None:
    """Return the app.bundle of the code, else its vendor/ if there are packages in it."""
    bundle, vendor = code / BUNDLE, code / VENDOR
    if bundle.is_file():
        return OfflinePackages(name=BUNDLE, path=bundle, digest=tree_digest(bundle, BUNDLE))
    if vendor.is_dir() and any(_is_package(path) for pattern in _PACKAGES for path in vendor.glob(pattern)):
        return OfflinePackages(name=f"{VENDOR}/", path=vendor, digest=tree_digest(vendor, VENDOR))
    return None


def has_package(vendor: Path, name: str) -> bool:
    """Tell whether a directory of wheels and sdists has a package of this name, in any version."""
    found = (path.name.partition("-")[0] for pattern in _PACKAGES for path in vendor.glob(pattern))
    return any(canonical(each) == name for each in found)


def _is_package(path: Path) -> bool:
    """Tell whether a file is a wheel or an sdist: other archives in a vendor/ are the front end's, or anything."""
    import tarfile  # most apps have no archive
    import zipfile
    import zlib

    from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

    from reconciler.staging.source import archive
    from reconciler.staging.source.zip_files import opened_zip

    allowance.check(path.name)
    try:
        if path.suffix == ".whl":
            parse_wheel_filename(path.name)
            return True
        parse_sdist_filename(path.name)
        if path.suffix == ".zip":
            with opened_zip(path) as zipped:
                return any(_SDIST_FILE.fullmatch(name) for name in zipped.namelist()[:_MEMBERS_LOOKED_AT])
        with tarfile.open(path, "r:gz", tarinfo=archive.BoundedHeader) as tarred:
            for member in itertools.islice(tarred, _MEMBERS_LOOKED_AT):
                allowance.check(path.name)
                if _SDIST_FILE.fullmatch(member.name):
                    return True
                if member.offset_data + member.size > _BYTES_LOOKED_AT:
                    break
            return False
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False
    except SourceError as error:
        if error.retry == "soon":
            raise  # it could not be looked at now
        return True
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError):
        return True  # a package by its name: the installer says what is wrong with it


def unpack_bundle(bundle: Path, directory: Path, runtime: Runtime, dependencies: Dependencies) -> tuple[str, ...]:
    """Unpack a bundle into `directory`; returns the paths of the code to build and install beside it.

    Raises StagingError unless it is complete, and made from the same dependencies for the same kind of Python.
    """
    from reconciler.staging.source.archive import unpack

    try:
        unpack(bundle, directory)
        index: dict[str, Any] = parse_json(read_source(directory / INDEX, most=LARGEST_LOCK))
        made_for, files = index["runtime"], dict(index["files"])
        declared: Mapping[str, str] = index["dependencies"]
        built: list[str] = index["built"]
    except SourceError as error:
        raise StagingError(f"cannot use {BUNDLE}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StagingError(f"cannot use {BUNDLE}: it is not a bundle ({error}); {_FIX}") from error
    if made_for != abi(runtime):
        raise StagingError(
            f"cannot use {BUNDLE}: it was made for {made_for}, but the app runs on {abi(runtime)};"
            f" run `reconciler bundle --runtime {runtime.name}`",
            retry="later",  # with that Python, once this host has it
        )
    names = {**declared, **dependencies.declared}
    changed = [name for name in names if declared.get(name) != dependencies.declared.get(name)]
    if changed:
        raise StagingError(f"cannot use {BUNDLE}: {', '.join(changed)} changed after it was made; {_FIX}")
    for name, digest in files.items():
        path = directory / name
        if not path.is_file():
            raise StagingError(f"cannot use {BUNDLE}: {name} is missing from it; {_FIX}")
        if file_digest(path) != digest:
            raise StagingError(f"cannot use {BUNDLE}: {name} was altered; {_FIX}")
    return tuple(built)


def abi(runtime: Runtime) -> str:
    """Return the kind of Python that wheels are made for: its name and the first two numbers of its version."""
    return runtime.name
