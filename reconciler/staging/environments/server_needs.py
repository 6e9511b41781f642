"""Find what an installed gunicorn, its worker classes or the app's packages import, and no package of theirs requires.

gunicorn before 21 imports pkg_resources. Newer ones require what a worker class needs only by an extra of its name: an
app that requires gevent gets what `gunicorn[gevent]` requires beside it.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.staging.detection.package_names import canonical
from reconciler.staging.detection.pkg_resources import imports_pkg_resources
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import LARGEST_LOCK, source_text

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.requirements import Requirement

SETUPTOOLS = "setuptools<81"  # 82 has no pkg_resources, 81 warns of it wherever it is imported
_FIRST_WITHOUT = (21,)
_EXTRA = re.compile(r"^Provides-Extra:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


def worker_needs(site: Path) -> tuple[str, ...]:
    """Return what the extras of gunicorn require whose namesake is installed, and is missing in `site`."""
    present = _distributions(site)
    metadata = present.get("gunicorn")
    if metadata is None or not (metadata / "METADATA").is_file():
        return ()
    written = source_text(metadata / "METADATA", most=LARGEST_LOCK)
    if present.keys().isdisjoint(canonical(found[1]) for found in _EXTRA.finditer(written)):
        return ()
    from email.parser import HeaderParser  # with what reads requirements most of a megabyte, for what few apps have

    headers = HeaderParser().parsestr(written)
    required = [*_parsed(headers.get_all("Requires-Dist", ()))]
    found: dict[str, None] = {}
    for extra in present.keys() & {canonical(each) for each in headers.get_all("Provides-Extra", ())}:
        of_extra = [each for each in required if each.marker is not None and _is_of(each.marker, extra)]
        if any(canonical(each.name) == extra for each in of_extra):
            missing = (each for each in of_extra if canonical(each.name) not in present)
            found.update(dict.fromkeys(f"{each.name}{each.specifier}" for each in missing))
    return tuple(sorted(found))


def needs_setuptools(site: Path, *, imported: bool, required: bool) -> bool:
    """Tell whether setuptools has to be added, or replaced by one that has pkg_resources.

    `imported` says that the app's own code imports it, `required` that the app itself requires a setuptools, which is
    never replaced. Raises StagingError if gunicorn needs pkg_resources and that one does not have it.
    """
    if (site / "pkg_resources").is_dir():
        return False
    gunicorn = _version(_distributions(site).get("gunicorn"))
    if gunicorn >= _FIRST_WITHOUT:
        return not required and (imported or imports_pkg_resources(site))
    if required:
        raise StagingError(
            f"gunicorn {'.'.join(map(str, gunicorn))} imports pkg_resources, which the setuptools that the app requires"
            f" does not have: require {SETUPTOOLS}, or gunicorn 21 or newer"
        )
    return True


def _parsed(lines: Iterable[str]) -> "Iterator[Requirement]":
    from packaging.requirements import InvalidRequirement, Requirement  # the same

    for line in lines:
        with suppress(InvalidRequirement):
            yield Requirement(line)


def _is_of(marker: "Marker", extra: str) -> bool:
    return not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})


def _distributions(site: Path) -> dict[str, Path]:
    """Return the directories of metadata in `site`, by the canonical name of the package."""
    return {canonical(path.name.partition("-")[0]): path for path in site.glob("*-*.dist-info")}


def _version(metadata: Path | None) -> tuple[int, ...]:
    if metadata is None:
        return _FIRST_WITHOUT
    numbers = metadata.name.removesuffix(".dist-info").rpartition("-")[2].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())
