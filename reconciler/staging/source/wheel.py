"""An unpacked wheel in; a requirements.txt beside its code, from what its metadata says it needs, out."""

from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

_REQUIREMENTS = "requirements.txt"


def write_requirements(code: Path) -> None:
    """Write what the wheel unpacked in `code` requires, extras left out, unless it brings such a file itself."""
    metadata = next(iter(sorted(code.glob("*.dist-info/METADATA"))), None)
    if metadata is None or (code / _REQUIREMENTS).exists():
        return
    said = HeaderParser().parsestr(metadata.read_text(encoding="utf-8", errors="replace"))
    needed = [Requirement(line) for line in said.get_all("Requires-Dist", ())]
    lines = [str(each) for each in needed if each.marker is None or "extra" not in str(each.marker)]
    (code / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
