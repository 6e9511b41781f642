"""Write a requirements.txt for an unpacked wheel, from the dependencies in its metadata."""

from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

from reconciler.staging.errors import SourceError
from reconciler.staging.source.reading import source_text

_REQUIREMENTS = "requirements.txt"


def write_requirements(code: Path) -> None:
    """Write the requirements of the wheel unpacked in `code`, without extras, unless it contains such a file."""
    path = next(iter(sorted(code.glob("*.dist-info/METADATA"))), None)
    if path is None or (code / _REQUIREMENTS).exists():
        return
    metadata = HeaderParser().parsestr(source_text(path))
    try:
        required = [Requirement(line) for line in metadata.get_all("Requires-Dist", ())]
    except (ValueError, RecursionError) as error:
        raise SourceError(f"its METADATA is not valid: {error}") from error
    lines = [str(each) for each in required if each.marker is None or "extra" not in str(each.marker)]
    (code / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
