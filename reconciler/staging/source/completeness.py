"""Tell from a look at a source that nothing is missing of it: a link always is complete, an archive has an end."""

import os
from pathlib import Path

from reconciler.staging.errors import StagingError
from reconciler.staging.source.allowance import Allowance, allowing
from reconciler.staging.source.tree import is_archive, refuse_sparse

# A zip file ends with the list of its files; any other archive has to be read to its end, which must not take long.
_ZIPS = (".zip", ".whl", ".bundle")
_MOST_READ_BYTES = 4 << 20
_LONGEST_S = 2.0


def is_complete(place: str) -> bool:
    """Return whether a link, or a whole archive, is at this place; not which of two that are whole. Blocks."""
    path = Path(place)
    try:
        if path.is_symlink():
            return True
        if not is_archive(path.name) or not path.is_file():
            return False
        refuse_sparse(path)
        if path.name.endswith(_ZIPS):
            return _ends_with_its_list(path)
        return path.stat().st_size <= _MOST_READ_BYTES and _can_be_unpacked(path)
    except (OSError, StagingError):
        return False


def _can_be_unpacked(path: Path) -> bool:
    from reconciler.staging.source.archive import check_once  # most sources are directories

    with allowing(Allowance(within_s=_LONGEST_S)):
        check_once(path)
    return True


def _ends_with_its_list(path: Path) -> bool:
    """Return whether the list of files in a zip file is whole and all that it lists is there."""
    import zipfile

    from reconciler.staging.source.zip_files import opened_zip

    size = os.stat(path).st_size  # noqa: PTH116  beside the open file
    try:
        with opened_zip(path) as zipped:
            end = zipped.start_dir
            return (
                all(member.header_offset + member.compress_size <= end for member in zipped.infolist()) and end < size
            )
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
