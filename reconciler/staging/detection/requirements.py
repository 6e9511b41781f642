"""A requirements file in; the files it draws in, the paths it installs from and what it demands, out.

Files are named relative to the code; what lies outside of it, and would be left behind by the next copy, is refused.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.staging.errors import SourceError, StagingError
from reconciler.staging.source.snapshot import fingerprint

_OPTION = re.compile(
    r"(?P<name>-r|--requirement|-c|--constraint|-e|--editable|-f|--find-links)(?:\s+|=|(?<=^-\w))(?P<value>\S+)"
)
_LOCAL = re.compile(r"^(?:\.{0,2}/|\.{1,2}$|\.\[|file:)|@\s*(?:file:|\.{0,2}/)|\.(?:whl|zip|tar\.gz)$")
_INCLUDES = frozenset(("-r", "--requirement", "-c", "--constraint"))
_EDITABLE = frozenset(("-e", "--editable"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a requirements file comes to.

    `contents` holds a digest of each file and tree that has a say, by its name; `trees` names those that are paths to
    install; `hashed` says that every requirement must come with a hash; `lines` is all of it as one file, in which
    paths are absolute and nothing is editable.
    """

    contents: Mapping[str, str]
    trees: frozenset[str]
    hashed: bool
    lines: tuple[str, ...]


def requirements(code: Path, file: str) -> Requirements:
    """Read the requirements file `file` of the code, and all it includes; StagingError."""
    return _Reading(code).read(code / file)


def digest_of(text: str) -> str:
    """A digest of a text, for a file that decides about an environment."""
    return hashlib.sha256(text.encode()).hexdigest()


def tree_digest(path: Path, named: str) -> str:
    """A digest of a file, or of everything in a directory; `named` is what its user calls it. StagingError."""
    try:
        if path.is_dir():
            return fingerprint(str(path))
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, SourceError) as error:
        raise StagingError(f"cannot install from {named}: {getattr(error, 'strerror', None) or error}") from error


def place_of(path: Path, named: str) -> Path:
    """Where a path that was read somewhere leads, links followed; StagingError when no path can be that."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a NUL, or half a character
        raise StagingError(f"cannot install from {named}: {error}") from error


class _Reading:
    def __init__(self, code: Path) -> None:
        self._code = code.resolve()
        self._contents: dict[str, str] = {}
        self._trees: set[str] = set()
        self._hashed = False

    def read(self, start: Path) -> Requirements:
        lines = tuple(self._lines(start.resolve(), ""))
        return Requirements(contents=self._contents, trees=frozenset(self._trees), hashed=self._hashed, lines=lines)

    def _lines(self, path: Path, by: str) -> Iterator[str]:
        name = path.relative_to(self._code).as_posix()
        if name in self._contents:
            return
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StagingError(f"cannot read {name}{by}: {reason}") from error
        self._contents[name] = digest_of(text)
        for line in _logical(text):
            yield from self._line(line, path, name)

    def _line(self, line: str, path: Path, name: str) -> Iterator[str]:
        option = _OPTION.match(line)
        if option is not None and option["name"] in _INCLUDES:
            yield from self._include(option["name"], option["value"], path, name)
        elif option is not None and "://" not in option["value"].removeprefix("file://"):
            editable = option["name"] in _EDITABLE
            where = self._local(option["value"], line, name, builds=editable)
            # Installed as it is now: what a link would point to is gone with the next copy.
            yield where if editable else f"{option['name']} {where}"
        elif line.startswith("-"):
            self._hashed = self._hashed or line.startswith("--require-hashes")
            yield line
        else:
            requirement = re.split(r";| --", line)[0].strip()
            if _LOCAL.search(requirement) and not ("://" in requirement and "file:" not in requirement):
                _, at, where = requirement.rpartition("@")
                place = self._local(where.strip(), line, name, builds=True)
                line = line.replace(where.strip(), f"file://{place}" if at else place, 1)
            yield line

    def _include(self, option: str, value: str, path: Path, name: str) -> Iterator[str]:
        if "://" in value:
            yield f"{option} {value}"
            return
        nested = place_of(path.parent / value, name)
        if not nested.is_relative_to(self._code):
            raise StagingError(f"cannot follow {value} in {name}: it is outside the source")
        lines = list(self._lines(nested, f", which {name} includes"))
        if option in {"-c", "--constraint"}:
            yield f"-c {nested}"
        else:
            yield from lines

    def _local(self, value: str, line: str, name: str, *, builds: bool) -> str:
        """Note a path that packages come from; as an installer that is run in the code's directory takes it."""
        value, extras = re.fullmatch(r"(.*?)(\[[^]]*\])?", value.removeprefix("file://").removeprefix("file:")).groups()  # type: ignore[union-attr]
        # As pip does, from where it is run: the top of the code, or the directory of the file.
        tries = [place_of(top / value, name) for top in (self._code, (self._code / name).parent)]
        inside = [place for place in tries if value.startswith("/") or place.is_relative_to(self._code)]
        if not inside:
            raise StagingError(
                f"cannot install `{line}` of {name}: it is outside the source;"
                " set `path` to a directory that holds both, and `dependencies` to the file"
            )
        place = next((place for place in inside if os.access(place, os.F_OK)), None)
        if place is None:
            raise StagingError(f"cannot install `{line}` of {name}: there is no {value} in the source")
        self._contents[value] = tree_digest(place, value)
        if builds:
            self._trees.add(value)
        return f"{place}{extras or ''}"


def _logical(text: str) -> Iterator[str]:
    """Lines as pip understands them: joined where they end in a backslash, without comments and blank ones."""
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            yield bare
