"""Judge the names, kinds and sizes of a commit's files, before any of them is read or written. Pure.

The listing of `git ls-tree -rz --full-tree -l` comes in block by block, and the first problem ends it: memory is
bounded by the limits, whatever a repository holds.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

from reconciler.documents.problem import one_line
from reconciler.linux.dataclass import dataclass
from reconciler.planning.wording import counted

Kind: TypeAlias = Literal["file", "program", "link"]

LONGEST_POINTER = 1024

_KINDS: Mapping[bytes, Kind] = {b"100644": "file", b"100755": "program", b"120000": "link"}
_SUBMODULE = b"160000"
_LONGEST_NAME = 255
_LONGEST_HEAD = 200  # mode, type, id and size
# What HFS+ leaves out when it compares names, as in git's utf8.c.
_IGNORED = dict.fromkeys((*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF))
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", "conin$", "conout$", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
_POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a commit may hold. Sizes are bytes; a path counts its bytes, and its depth its directories."""

    files: int = 20_000
    file_size: int = 4 * 1024**2
    total_size: int = 256 * 1024**2
    path_length: int = 1024
    depth: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a commit: its object and its size in bytes."""

    kind: Kind
    id: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeProblem:
    """A reason to refuse a commit: a path in it, in printable characters, and what is wrong there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class UnfitTree(Exception):
    """The first problem of a commit's files."""

    def __init__(self, path: str | bytes, message: str) -> None:
        text = path if isinstance(path, str) else path.decode(errors="backslashreplace")
        self.problem = TreeProblem(path=_shortened(one_line(text)), message=message)
        super().__init__(str(self.problem))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of a commit that its origin uses, by path, and the `paths` below which these are.

    `absent` are the origin's own paths that the commit lacks.
    """

    files: Mapping[str, Entry]
    paths: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def links(self) -> Mapping[str, Entry]:
        """The symbolic links."""
        return {path: entry for path, entry in self.files.items() if entry.kind == "link"}


class TreeReader:
    """Reads the listing of one commit; everything below `paths` is used, where an empty path is the whole commit.

    So is what is `named`, be it a file or a directory with all below it.
    """

    def __init__(self, limits: Limits, paths: Iterable[str] = ("",), named: Iterable[str] = ()) -> None:
        self._limits = limits
        self._paths = tuple(dict.fromkeys(map(_plain, paths)))
        self._used_paths = tuple(dict.fromkeys((*self._paths, *map(_plain, named))))
        self._used_below = frozenset(self._used_paths)
        self._files: set[str] = set()
        self._directories = {"": 0}  # each with how many files and directories are directly in it
        self._used: dict[str, Entry] = {}
        self._total = 0
        self._rest = b""

    def read(self, block: bytes) -> None:
        """Judge the entries that a block of the listing completes. Raises UnfitTree."""
        *records, self._rest = (self._rest + block).split(b"\0")
        for record in records:
            self._read_entry(record)
        if len(self._rest) > self._limits.path_length + _LONGEST_HEAD:
            self._check_name(self._rest.partition(b"\t")[2])
            raise UnfitTree("", "the listing of its files is damaged")

    def end(self) -> Tree:
        """Return the files, once the listing has ended. Raises UnfitTree if it ends in the middle of an entry."""
        if self._rest:
            raise UnfitTree("", "the listing of its files is damaged")
        absent = tuple(path for path in self._paths if path not in self._directories)
        return Tree(files=self._used, paths=self._used_paths, absent=absent)

    def without(self, paths: Iterable[str]) -> "TreeReader":
        """Return a reader that has read all that this one has but these files, each of which it has."""
        rest = TreeReader(self._limits, self._paths, self._used_paths)
        rest._files, rest._directories = self._files.copy(), self._directories.copy()
        rest._used, rest._total = self._used.copy(), self._total
        for path in paths:
            rest._remove(path)
        return rest

    def _remove(self, path: str) -> None:
        self._files.remove(path)
        entry = self._used.pop(path, None)
        self._total -= 0 if entry is None else entry.size
        directory = path.rpartition("/")[0]
        self._directories[directory] -= 1
        while directory and not self._directories[directory]:
            del self._directories[directory]
            directory = directory.rpartition("/")[0]
            self._directories[directory] -= 1

    def _read_entry(self, record: bytes) -> None:
        head, tab, name = record.partition(b"\t")
        fields = head.split()
        if not tab or len(fields) != 4 or not all(field.isascii() for field in fields):
            raise UnfitTree("", "the listing of its files is damaged")
        path = self._check_name(name)
        self._place(path)
        mode, _, object_id, size = fields
        is_used = path in self._used_below or any(above in self._used_below for above in directories_above(path))
        if any(_is_below(used, path) for used in self._paths):
            kind = "a submodule, which is not fetched" if mode == _SUBMODULE else "not a directory"
            raise UnfitTree(path, f"is {kind}; the origin takes its manifests from there")
        if not is_used:
            return
        if mode == _SUBMODULE:
            raise UnfitTree(path, "is a submodule, which is not fetched")
        if mode not in _KINDS:
            raise UnfitTree(path, f"has the mode {mode.decode()}; expected a file, a program or a symbolic link")
        kind = _KINDS[mode]
        self._used[path] = Entry(kind=kind, id=object_id.decode(), size=self._sized(path, kind, size))

    def _check_name(self, name: bytes) -> str:
        """Return a path as text; only its last name is judged, as `_place` judges those before. Raises UnfitTree."""
        if len(name) > self._limits.path_length:
            raise UnfitTree(name, f"is a path of {len(name)} bytes; the limit is {self._limits.path_length}")
        try:
            path = name.decode()
        except UnicodeDecodeError:
            raise UnfitTree(name, "has a name that is not UTF-8") from None
        if path.startswith("/"):
            raise UnfitTree(path, "is an absolute path")
        if path.count("/") > self._limits.depth:
            raise UnfitTree(path, f"lies {path.count('/')} directories deep; the limit is {self._limits.depth}")
        if message := name_problem(path.rpartition("/")[2]):
            raise UnfitTree(path, message)
        return path

    def _place(self, path: str) -> None:
        """Find a place for a file beside all others."""
        if path in self._files:
            raise UnfitTree(path, "is there twice")
        if path in self._directories:
            raise UnfitTree(path, "is both a file and a directory")
        directory = path.rpartition("/")[0]
        while directory not in self._directories:
            if directory in self._files:
                raise UnfitTree(directory, "is both a file and a directory")
            above, _, name = directory.rpartition("/")
            if message := name_problem(name):
                raise UnfitTree(directory, message)
            self._directories[directory] = 1
            directory = above
        self._directories[directory] += 1
        self._files.add(path)
        for found, noun in ((self._files, "files"), (self._directories, "directories")):
            if len(found) > self._limits.files:
                raise UnfitTree("", f"has more than {self._limits.files} {noun}, which is the limit")

    def _sized(self, path: str, kind: Kind, written: bytes) -> int:
        if not written.isdigit():
            raise UnfitTree(path, f"was not fetched; the limit is {_size(self._limits.file_size)} a file")
        size = int(written[:20])
        if kind == "link" and not 0 < size <= self._limits.path_length:
            raise UnfitTree(path, f"is a symbolic link of {size} bytes; the limit is {self._limits.path_length}")
        if size > self._limits.file_size:
            raise UnfitTree(path, f"is {_size(size)}; the limit is {_size(self._limits.file_size)} a file")
        self._total += size
        if self._total > self._limits.total_size:
            raise UnfitTree("", f"its files are larger than {_size(self._limits.total_size)}, which is the limit")
        return size


@lru_cache(8192)
def name_problem(name: str) -> str:
    """Return what is wrong with the name of one file or directory, "" for nothing."""
    if name in ("", ".", ".."):
        return "has an empty name in its path" if not name else f"has '{name}' in its path"
    if "\n" in name or "\r" in name:
        return "has a line break in its name"
    if _is_repository(name):
        return "has a name that stands for '.git' on some file system"
    if not name.isprintable():
        return "has a name with characters that do not print"
    if len(name) > _LONGEST_NAME or len(name.encode()) > _LONGEST_NAME:
        return f"has a name of more than {_LONGEST_NAME} bytes"
    if name.rstrip(". ").lower() in _DEVICES:
        return "has a name that stands for a device on some systems"
    return ""


def link_problems(tree: Tree, targets: Mapping[str, bytes], top: str = "the repository") -> list[TreeProblem]:
    """Return what is wrong with the symbolic links of a commit, or of what `top` names, given what each contains.

    A link is relative, stays inside the origin's paths, and leads neither through another link nor back to itself.
    """
    links, found = tree.links, []
    leads_to: dict[str, str] = {}
    for path in links:
        target = targets.get(path)
        message, place = ("was not read", "") if target is None else _led(path, target, links, top)
        if not message and not any(_is_below(place, used) for used in tree.paths):
            message = "is a symbolic link out of the origin's paths"
        if message:
            found.append(TreeProblem(path=path, message=message))
        else:
            leads_to[path] = place
    circles = (TreeProblem(path=path, message="is a symbolic link in a circle") for path in _circles(leads_to))
    return sorted((*found, *circles), key=lambda problem: problem.path)


def pointer_problem(path: str, content: bytes) -> TreeProblem | None:
    """Return the problem of a file that Git LFS keeps elsewhere; its first `LONGEST_POINTER` bytes are enough."""
    if len(content) <= LONGEST_POINTER and content.startswith(_POINTERS):
        return TreeProblem(path=path, message="is an LFS pointer, which is not fetched")
    return None


def resolved(directory: str, path: str) -> str | None:
    """Return where a relative path leads from a directory of a commit, None for out of the commit.

    `..` may only stand at the beginning: after a name that is a symbolic link it would lead elsewhere.
    """
    steps, rest = [*filter(None, directory.split("/"))], [part for part in path.split("/") if part not in ("", ".")]
    while rest and rest[0] == "..":
        if not steps:
            return None
        steps.pop()
        rest.pop(0)
    return None if path.startswith("/") or ".." in rest else "/".join((*steps, *rest))


def _led(path: str, target: bytes, links: Mapping[str, Entry], top: str) -> tuple[str, str]:
    """Return what is wrong with a link, or "" and the path that it leads to."""
    try:
        text = target.decode()
    except UnicodeDecodeError:
        return "is a symbolic link to a name that is not UTF-8", ""
    if not text.isprintable() or not text:
        return "is a symbolic link to a name with characters that do not print", ""
    if text.startswith("/"):
        return "is a symbolic link to an absolute path", ""
    place = resolved(path.rpartition("/")[0], text)
    if place is None:
        return f"is a symbolic link out of {top}, or has '..' after a name", ""
    if any(each in links for each in directories_above(f"{place}/")):
        return "is a symbolic link that leads through another", ""
    return "", place


def _circles(leads_to: Mapping[str, str]) -> list[str]:
    """Return the links from which following links never ends: each is removed once none lies below its target."""
    below = Counter(directory for path in leads_to for directory in directories_above(path))
    by_target = defaultdict(list)
    for path, target in leads_to.items():
        by_target[target].append(path)
    free = [path for path, target in leads_to.items() if not below[target]]
    left = dict.fromkeys(leads_to)
    while free:
        path = free.pop()
        del left[path]
        for directory in directories_above(path):
            below[directory] -= 1
            if not below[directory]:
                free += by_target.pop(directory, ())
    return list(left)


def directories_above(path: str) -> Iterator[str]:
    """Yield the directories above a path, the top as ""."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _is_below(path: str, directory: str) -> bool:
    """Return whether a path is a directory's, or lies in it."""
    return not directory or path == directory or path.startswith(f"{directory}/")


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _is_repository(name: str) -> bool:
    """Return whether some file system takes a name, or a part of it before a separator of its own, for `.git`."""
    plain = name if name.isascii() else unicodedata.normalize("NFKC", name.translate(_IGNORED))
    parts = plain.replace("\\", ":").split(":")
    return any(part.rstrip(". ").casefold() in (".git", "git~1") for part in parts)


def _size(number: int) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if number >= size:
            return f"{number / size:.1f} {unit}".replace(".0 ", " ")
    return counted(number, "byte")


def _shortened(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:199]}…"
