"""The format pylock.toml (PEP 751): installed by uv as it is, or converted to requirements where uv cannot be used."""

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.staging.detection import pyproject
from reconciler.staging.detection.lockfiles.format import ExportByConversion, Lock, LockFormat
from reconciler.staging.detection.package_names import canonical
from reconciler.staging.detection.tables import items, table, tables, text
from reconciler.staging.detection.toml import parse_toml
from reconciler.staging.errors import StagingError

_FILE = "pylock.toml"


def mismatch(lock: Lock, project: Mapping[str, Any], python: str) -> str:
    """Return how a lock differs from what its project requires, "" if it does not; direct dependencies only."""
    from packaging.requirements import InvalidRequirement, Requirement  # every start of the daemon would wait for it

    versions: dict[str, list[str]] = {}
    for package in tables(_FILE, lock, "packages"):
        versions.setdefault(canonical(text(_FILE, package, "name")), []).append(text(_FILE, package, "version", ""))
    for line in items(pyproject.FILE, project, "dependencies"):
        try:
            required = Requirement(str(line))
        except InvalidRequirement:
            continue
        if required.marker is not None and not required.marker.evaluate({"python_full_version": python}):
            continue
        locked = versions.get(canonical(required.name))
        if locked is None:
            return f"{required.name} is missing"
        if not any(version == "" or required.specifier.contains(version, prereleases=True) for version in locked):
            return f"it has {required.name} {', '.join(locked)}, the project requires {line}"
    return ""


def as_requirements(lock: Lock, extras: tuple[str, ...], groups: tuple[str, ...]) -> str:
    """Return the lock as a requirements file with hashes, for installers and hosts that cannot use its addresses."""
    lines = []
    chosen_groups = {*groups, *map(str, items(_FILE, lock, "default-groups"))}
    for package in tables(_FILE, lock, "packages"):
        name, version = text(_FILE, package, "name"), text(_FILE, package, "version", "")
        marker = _resolved_marker(text(_FILE, package, "marker", ""), set(extras), chosen_groups)
        if not version or marker is False:
            continue
        files = [*tables(_FILE, package, "wheels"), table(_FILE, package, "sdist")]
        hashes = [f"{kind}:{value}" for file in files for kind, value in table(_FILE, file, "hashes").items()]
        condition = f" ; {marker}" if isinstance(marker, str) else ""
        lines.append(" ".join((f"{name}=={version}{condition}", *(f"--hash={each}" for each in dict.fromkeys(hashes)))))
    return "\n".join(lines) + "\n"


def _resolved_marker(marker: str, extras: set[str], groups: set[str]) -> str | bool:
    """Return the marker, or its value where it depends on extras or groups: False leaves the package out."""
    if not marker:
        return True
    if "extras" not in marker and "dependency_groups" not in marker:
        return marker
    from packaging.markers import InvalidMarker, Marker

    try:
        return Marker(marker).evaluate({"extras": extras, "dependency_groups": groups}, context="lock_file")
    except InvalidMarker as error:
        raise StagingError(f"cannot read {_FILE}: {error}") from error


def _paths(lock: Lock) -> Iterator[str]:
    for package in tables(_FILE, lock, "packages"):
        for kind in ("directory", "archive"):
            yield text(_FILE, table(_FILE, package, kind), "path", "")


PYLOCK = LockFormat(
    file=_FILE,
    project=pyproject.FILE,
    project_digest=pyproject.declared_digest,
    fix=f"uv export -o {_FILE}",
    parse=parse_toml,
    declared_pythons=lambda lock: text(_FILE, lock, "requires-python", ""),
    local_paths=_paths,
    export=ExportByConversion(mismatch=mismatch, requirements=as_requirements),
    installed_by_uv=True,
)
