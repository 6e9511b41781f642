"""Read a requirements file with all it includes: its files, the paths it installs from, whether it demands hashes.

Files are named relative to the code. Paths outside the code are refused: the next copy would not contain them.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.planning.apps.retry import Retry
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.errors import SourceError, StagingError
from reconciler.staging.source import allowance
from reconciler.staging.source.reading import LARGEST_LOCK, file_digest
from reconciler.staging.source.snapshot import fingerprint

_OPTION = re.compile(
    r"(?P<name>-r|--requirement|-c|--constraint|-e|--editable|-f|--find-links)(?:\s+|=|(?<=^-\w))"
    r"(?P<value>'[^']*'|\"[^\"]*\"|(?:\\.|\S)+)"
)
# The address of a repository or a file, which may come from a variable.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?!/)|(?:git|hg|svn|bzr)\+|\$\{[A-Z0-9_]+\}")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
# A fragment `#egg=name[extra]&subdirectory=path` of an editable requirement.
_EGG = re.compile(
    r"(?P<url>[^#]+)#(?:(?P<before>.*)&)?egg=(?P<name>[^&\[\s]+)(?P<extras>\[[^\]]*\])?(?:&(?P<after>.*))?"
)
_LOCAL = re.compile(r"^(?:\.{0,2}/|\.{1,2}$|\.\[|file:)|@\s*(?:file:|\.{0,2}/)|\.(?:whl|zip|tar\.gz)$")
_MOST_LINES = 20_000
_DEEPEST = 32
_PROJECT_FILES = ("pyproject.toml", "setup.py")
_INCLUDES = frozenset(("-r", "--requirement", "-c", "--constraint"))
_EDITABLE = frozenset(("-e", "--editable"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A requirements file with its includes.

    `contents` has a digest of each file and tree that decides what is installed, by its name; `trees` names those that
    are code to build; `hashed` says that every requirement must have a hash; `lines` is all of it as one file, with
    absolute paths and without editable installs; `rewritten` says that only those lines can be installed. `variables`
    are the names that `${NAME}` in them stands for, each with a file that has it.
    """

    contents: Mapping[str, str]
    trees: frozenset[str]
    hashed: bool
    lines: tuple[str, ...]
    rewritten: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


def requirements(code: Path, file: str) -> Requirements:
    """Read the requirements file `file` of the code, and all it includes; raises StagingError."""
    return _Reader(code).read(code / file)


def digest_of(text: str) -> str:
    """Return a digest of the text of a file that decides what is installed."""
    return hashlib.sha256(text.encode()).hexdigest()


def tree_digest(path: Path, name: str, *, retry: Retry | None = None) -> str:
    """Return a digest of a file, or of all files of a directory; `name` is what an error calls it."""
    try:
        if path.is_dir():
            return fingerprint(str(path), of_build=True)
        return file_digest(path)
    except (OSError, SourceError) as error:
        why = getattr(error, "strerror", None) or error
        raise StagingError(f"cannot install from {name}: {why}", retry=retry) from error


def built_digest(path: Path, name: str, code: Path) -> str:
    """Return a digest of what a package is built from; a directory outside the code must be a project, not any tree."""
    outside = not path.is_relative_to(code.resolve())
    if outside and path.is_dir() and not any((path / file).is_file() for file in _PROJECT_FILES):
        raise StagingError(f"cannot install from {name}: it has no {' or '.join(_PROJECT_FILES)}", retry="later")
    return tree_digest(path, name, retry="later" if outside and not path.exists() else None)


def resolved_path(path: Path, name: str) -> Path:
    """Resolve the links of a path that a file contains; raises StagingError if no such path can exist."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a NUL, or half a character
        why = "its path has a NUL byte" if "\0" in str(path) else error
        raise StagingError(f"cannot install from {name}: {why}") from error


class _Reader:
    """Reads a requirements file and what it includes, each file once."""

    def __init__(self, code: Path) -> None:
        self._code = code.resolve()
        self._contents: dict[str, str] = {}
        self._trees: set[str] = set()
        self._hashed = False
        self._rewritten = False
        self._variables: dict[str, str] = {}
        self._included: set[tuple[str, str, Path]] = set()
        self._count = 0
        self._depth = 0

    def read(self, start: Path) -> Requirements:
        lines = tuple(self._lines(start.resolve(), ""))
        return Requirements(
            contents=self._contents,
            trees=frozenset(self._trees),
            hashed=self._hashed,
            lines=lines,
            rewritten=self._rewritten or bool(self._trees),
            variables=self._variables,
        )

    def _lines(self, path: Path, included_by: str) -> Iterator[str]:
        name = path.relative_to(self._code).as_posix()
        if name in self._contents:
            return
        try:
            text = text_of(path, name, included_by, most=LARGEST_LOCK)
        except FileNotFoundError as error:
            raise StagingError(f"cannot read {name}{included_by}: {in_words(error)}") from error
        self._contents[name] = digest_of(text)
        if (whole := _ended(text)) != text:  # uv takes the mark for a part of the name
            text, self._rewritten = whole, True
        for line in _logical_lines(text):
            self._count += 1
            if self._count > _MOST_LINES:
                raise StagingError(f"cannot read {name}{included_by}: more than {_MOST_LINES} requirements")
            allowance.check(name)
            self._variables.update(dict.fromkeys(_VARIABLE.findall(line), name))
            yield from self._line(line, path, name)

    def _line(self, line: str, path: Path, name: str) -> Iterator[str]:
        option = _OPTION.match(line)
        value = _unquoted(option["value"]) if option is not None else ""
        editable = option is not None and option["name"] in _EDITABLE
        if option is not None and option["name"] in _INCLUDES:
            yield from self._include(option["name"], value, path, name)
        elif option is not None and not _REMOTE.match(value):
            local = self._local(value, line, name, builds=editable)
            # Installed as it is now: a link would point into a copy that the next build does not have.
            yield local if editable else f"{option['name']} {local}"
        elif editable:
            self._rewritten = True
            yield _without_egg(value) + line[option.end() :]  # type: ignore[union-attr]  # it matched
        elif line.startswith("-"):
            self._hashed = self._hashed or line.startswith("--require-hashes")
            yield line
        else:
            requirement = re.split(r";| --", line)[0].strip()
            if _LOCAL.search(requirement) and not ("://" in requirement and "file:" not in requirement):
                _, at, location = requirement.rpartition("@")
                local = self._local(location.strip(), line, name, builds=True)
                line = line.replace(location.strip(), f"file://{local}" if at else local, 1)
            yield line

    def _include(self, option: str, value: str, path: Path, name: str) -> Iterator[str]:
        if "://" in value:
            yield f"{option} {value}"
            return
        if (option, value, path.parent) in self._included:
            return
        self._included.add((option, value, path.parent))
        included = resolved_path(path.parent / value, name)
        if not included.is_relative_to(self._code):
            raise StagingError(f"cannot include {value} in {name}: it is outside the source")
        if self._depth == _DEEPEST:
            raise StagingError(f"cannot include {value} in {name}: more than {_DEEPEST} files include one another")
        self._depth += 1
        lines = list(self._lines(included, f", which {name} includes"))
        self._depth -= 1
        if option in {"-c", "--constraint"}:
            yield f"-c {included}"
        else:
            yield from lines

    def _local(self, value: str, line: str, name: str, *, builds: bool) -> str:
        """Record a path that packages come from, and return it as an absolute one."""
        value, extras = re.fullmatch(
            r"(.*?)(\[[^][]*+\])?", value.removeprefix("file://").removeprefix("file:")
        ).groups()  # type: ignore[union-attr]
        # pip resolves it from its working directory: the top of the code, or the directory of the file.
        candidates = [resolved_path(top / value, name) for top in (self._code, (self._code / name).parent)]
        inside = [path for path in candidates if value.startswith("/") or path.is_relative_to(self._code)]
        if not inside:
            raise StagingError(
                f"cannot install `{line}` of {name}: it is outside the source;"
                " set `path` to a directory that contains both, and `dependencies` to the file"
            )
        path = next((path for path in inside if os.access(path, os.F_OK)), None)
        if path is None:
            why = f"cannot install `{line}` of {name}: there is no {value}"
            if value.startswith("/"):
                raise StagingError(f"{why} on this host", retry="later")
            raise StagingError(f"{why} in the source")
        if not builds and path != self._code and self._code.is_relative_to(path):
            raise StagingError(f"cannot install from `{line}` of {name}: the source itself is in {value}")
        if value not in self._contents or (builds and value not in self._trees):
            self._contents[value] = built_digest(path, value, self._code) if builds else tree_digest(path, value)
        if builds:
            self._trees.add(value)
        return f"{path}{extras or ''}"


def _unquoted(value: str) -> str:
    """Return the value of an option as a shell would read it."""
    if value[:1] in {"'", '"'}:
        return value[1:-1]
    return re.sub(r"\\(.)", r"\1", value)


def _without_egg(url: str) -> str:
    """Return an editable requirement as an ordinary one: `name @ url`."""
    egg = _EGG.fullmatch(url)
    if egg is None:
        return url
    fragment = "&".join(filter(None, (egg["before"], egg["after"])))
    return f"{egg['name']}{egg['extras'] or ''} @ {egg['url']}{f'#{fragment}' if fragment else ''}"


def _ended(text: str) -> str:
    r"""Return a file without the `\` in its last line, which nothing continues."""
    last = text.rstrip()
    return last.rstrip("\\") if last.endswith("\\") else text


def _logical_lines(text: str) -> Iterator[str]:
    r"""Yield lines as pip reads them: continued after a `\`, without comments and blank lines."""
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            yield bare
