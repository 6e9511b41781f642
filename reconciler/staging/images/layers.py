"""Write the layers of an image: archives of files, the same bytes wherever and whenever they are written.

Entries are sorted, belong to 0:0, have one time, and of their mode only whether they can be executed.
"""

import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import publish
from reconciler.linux.regular_files import opened_file, written_anew
from reconciler.staging.errors import StagingError

# The first second that no file system or tool takes for "unknown".
EPOCH_S = 315532801
_DIRECTORY, _PROGRAM, _FILE, _LINK = 0o755, 0o755, 0o644, 0o777
_CHUNK = 1 << 20
# A header of RFC 1952 without a name and a time, of no particular system.
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

Compression: TypeAlias = Literal["gzip", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a layer, by its path without a slash in front: a directory, a link, or a file.

    A file is the one at `source`, or has `content`.
    """

    path: str
    link: str | None = None
    source: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    program: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether it is neither a link nor a file."""
        return self.link is None and self.source is None and self.content is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer in a directory of blobs. `digest` is of what is stored, `diff_id` of the archive; both are sha256."""

    role: str
    digest: str
    diff_id: str
    size: int
    media_type: str


def write_layer(role: str, entries: Iterable[Entry], blobs: Path, compression: Compression) -> Layer:
    """Write a layer into a directory of blobs, under its digest. Raises StagingError, OSError; blocks."""
    draft = blobs / f".{role}.draft"
    try:
        with os.fdopen(written_anew(draft, 0o644), "wb") as file:
            out = _Hashed(file, compression)
            with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
                for entry in sorted(with_directories(entries), key=lambda each: each.path):
                    _add(archive, entry)
            out.finish()
        publish(draft, blobs / out.digest)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    kind = "application/vnd.oci.image.layer.v1.tar"
    media_type = kind if compression == "none" else f"{kind}+gzip"
    return Layer(role=role, digest=out.digest, diff_id=out.diff_id, size=out.size, media_type=media_type)


def with_directories(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries, and every directory above them that is none of them. Raises StagingError."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        try:
            path.encode()
        except UnicodeEncodeError as error:
            shown = path.encode("utf-8", "backslashreplace").decode()
            raise StagingError(f"an image cannot hold {shown}: its name is not UTF-8; rename it") from error
        parts = path.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            found.setdefault(above, Entry(path=above))
    return list(found.values())


def entries_of(directory: Path, below: str) -> Iterator[Entry]:
    """Yield an entry for each file, link and directory, at the same path below `below`. Raises StagingError, OSError.

    Links are as they are on the disk.
    """
    for here, directories, files in os.walk(directory):
        inside = os.path.relpath(here, directory)
        prefix = below if inside == "." else f"{below}/{inside}"
        for name in (*directories, *files):
            path = Path(here, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield Entry(path=f"{prefix}/{name}", link=os.readlink(path))  # noqa: PTH115  as it is written
            elif stat.S_ISDIR(mode):
                yield Entry(path=f"{prefix}/{name}")
            elif stat.S_ISREG(mode):
                yield Entry(path=f"{prefix}/{name}", source=path, program=bool(mode & 0o111))
            else:
                raise StagingError(f"an image cannot hold {path}: it is neither a file nor a directory; remove it")


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mtime = EPOCH_S
    if entry.is_directory:
        info.type, info.mode = tarfile.DIRTYPE, _DIRECTORY
        archive.addfile(info)
    elif entry.link is not None:
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, _LINK, entry.link
        archive.addfile(info)
    elif entry.content is not None:
        info.size, info.mode = len(entry.content), _PROGRAM if entry.program else _FILE
        archive.addfile(info, io.BytesIO(entry.content))
    else:
        assert entry.source is not None
        with opened_file(entry.source, follow=False) as file:
            info.size, info.mode = os.fstat(file.fileno()).st_size, _PROGRAM if entry.program else _FILE
            archive.addfile(info, file)


class _Hashed:
    """Compresses what is written, and knows the digests of both sides."""

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        self.size = 0
        self._file = file
        self._plain, self._stored = hashlib.sha256(), hashlib.sha256()
        self._crc = self._length = 0
        self._compressor = None if compression == "none" else zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        if self._compressor is not None:
            self._put(_GZIP_HEADER)

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._put(data if self._compressor is None else self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write what is left."""
        if self._compressor is not None:
            self._put(self._compressor.flush())
            self._put(self._crc.to_bytes(4, "little") + (self._length & 0xFFFFFFFF).to_bytes(4, "little"))

    @property
    def digest(self) -> str:
        return self._stored.hexdigest()

    @property
    def diff_id(self) -> str:
        return self._plain.hexdigest()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._stored.update(data)
        self.size += len(data)
