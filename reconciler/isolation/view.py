"""Give a process its own view of the host's files: a new root with copies of what it may see, and nothing else.

Every path has the name that it has on the host. What is not listed is not there: no right on a file can be forgotten.
"""

import os

from reconciler.linux.mount_trees import (
    MAPPED,
    NO_DEVICES,
    NO_EXEC,
    NO_SUID,
    READ_ONLY,
    attach,
    become_root,
    copy_of,
    leave_mounts,
    new_file_system,
    restrict,
)
from reconciler.linux.privileges import SYS_ADMIN, may

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from reconciler.planning.isolation.confinement import Confinement

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
LENGTHENED = ("/etc/passwd", "/etc/group")  # in which the user of an app and its group have a line
_DEVICE_LINKS = (
    ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
)  # fmt: skip
_OWN = {"/tmp": "256m", "/dev/shm": "50%"}  # noqa: S108  in memory, and gone with the process
_FENCED = NO_SUID | NO_DEVICES
_COVER, _EMPTY = ".covered", ".empty"
_MOST_LINKS = 40
_LONGEST = 1 << 18  # of a file that is shown longer than it is


class _Root:
    """The new root, by its descriptor, with what was put there."""

    def __init__(self, tree: int) -> None:
        self.tree = tree
        self._mounted: set[str] = set()
        self._made: set[str] = set()

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, unless something is there, or a mount has that path. Raises OSError."""
        try:
            self._parents(path)
            os.symlink(target, path[1:], dir_fd=self.tree)
        except FileExistsError:
            return
        except OSError:
            if not self.covers(path):
                raise

    def mount(self, tree: int, path: str, *, directory: bool) -> None:
        """Put a mount there. Raises OSError."""
        self._parents(path)
        try:
            if directory:
                os.mkdir(path[1:], 0o755, dir_fd=self.tree)
            else:
                os.close(
                    os.open(path[1:], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.tree)
                )
        except FileExistsError:
            pass
        except OSError:
            if not self.covers(path):
                raise
        attach(tree, path[1:], below=self.tree)
        os.close(tree)
        self._mounted.add(path)

    def covers(self, path: str) -> bool:
        """Whether a path is below something that is mounted."""
        return any(path.startswith(f"{each}/") for each in self._mounted)

    def has(self, path: str) -> bool:
        """Whether something is there."""
        try:
            os.lstat(path[1:], dir_fd=self.tree)
        except OSError:
            return False
        return True

    def _parents(self, path: str) -> None:
        at = path.find("/", 1)
        while at > 0:
            if path[:at] not in self._made:
                try:  # noqa: SIM105  contextlib would have to be loaded
                    os.mkdir(path[1:at], 0o755, dir_fd=self.tree)
                except FileExistsError:
                    pass
                self._made.add(path[:at])
            at = path.find("/", at + 1)


def view_for(given: "Confinement", users: "int | None" = None) -> int:
    """Make the tree that a confinement shows, in mounts of this process's own, to be entered. Raises OSError.

    Paths that are not there are left out. Hidden ones are covered by something empty; those that are mapped show the
    `users` of a namespace, by its descriptor, unless there is none.
    """
    before = os.umask(0o022)  # whichever user enters passes through what is made here
    try:
        root = _made(given, users)
        for path, text in _accounts(given).items():
            _lengthen(root, path, text)
        restrict(root.tree, READ_ONLY)
        return root.tree
    finally:
        os.umask(before)


def _accounts(given: "Confinement") -> "dict[str, str]":
    """Return what the files that name users and groups say of its own besides."""
    name, _, home = given.account.partition(":")
    if not name or given.uid is None:
        return {}
    users, groups = LENGTHENED
    return {users: f"{name}:x:{given.uid}:{given.gid}::{home}:/bin/sh\n", groups: f"{name}:x:{given.gid}:\n"}


class Ways:
    """What another user cannot get to in the host's tree, by the directory on the way that keeps it from that."""

    def __init__(self) -> None:
        self.trees: dict[str, list[tuple[str, int, bool]]] = {}
        self.links: dict[str, str] = {}


def closed_ways(visible: "list[str]", writable: "list[str]") -> Ways:
    """Copy those of these paths that another user cannot get to, in mounts of this process's own. Raises OSError."""
    leave_mounts(as_user=False)
    found_ways = Ways()
    trees, links = found_ways.trees, found_ways.links
    for paths, attributes in ((visible, _FENCED | READ_ONLY), (writable, _FENCED)):
        for path in paths:
            found = real(path, links)
            closed = _closed_above(found)
            if closed and os.path.lexists(found):
                tree = copy_of(found, attributes)
                trees.setdefault(closed, []).append((found[len(closed) :], tree, os.path.isdir(found)))  # noqa: PTH112
    return found_ways


def open_ways(ways: Ways) -> None:
    """Cover each directory that others cannot enter by one that has those paths, and nothing else. Raises OSError."""
    before = os.umask(0o022)
    try:
        _open(ways)
    finally:
        os.umask(before)


def _open(ways: Ways) -> None:
    for closed, below in ways.trees.items():
        root = _Root(new_file_system("tmpfs", _FENCED, mode="755", size="1m"))
        attach(root.tree, closed)
        for path, tree, directory in sorted(below, key=lambda each: each[0].count("/")):
            root.mount(tree, path, directory=directory)
        for path, target in ways.links.items():
            if path.startswith(f"{closed}/"):
                root.link(path[len(closed) :], target)
        restrict(root.tree, READ_ONLY)
        os.close(root.tree)


def _closed_above(path: str) -> str:
    """Return the first directory on the way to a path that others cannot enter, "" if they can enter all."""
    at = path.find("/", 1)
    while at > 0:
        try:
            if not os.stat(path[:at]).st_mode & 0o001:  # noqa: PTH116  pathlib would have to be loaded
                return path[:at]
        except OSError:
            return ""
        at = path.find("/", at + 1)
    return ""


def enter_view(tree: int) -> None:
    """Leave the host's tree of files for another. Raises OSError."""
    become_root(tree)
    os.close(tree)


def _made(given: "Confinement", users: "int | None") -> _Root:
    as_user = not may(SYS_ADMIN)
    leave_mounts(as_user=as_user)
    trees: list[tuple[str, int, bool]] = []
    links: dict[str, str] = {}
    plain: set[str] = set()
    shown = {real(path, links, plain): _FENCED | READ_ONLY for path in given.visible}
    shown.update({real(path, links, plain): _FENCED for path in given.writable})
    mapped = set() if users is None else {real(path, links, plain) for path in given.mapped}
    shown = {path: attributes | (MAPPED if path in mapped else 0) for path, attributes in shown.items()}
    for path, attributes in shown.items():
        if not _is_shown_above(path, attributes, shown) and os.path.lexists(path):
            trees.append((path, copy_of(path, attributes, users=users), os.path.isdir(path)))  # noqa: PTH112
    trees += [(path, copy_of(path, NO_SUID | NO_EXEC), False) for path in DEVICES if os.path.exists(path)]  # noqa: PTH110
    for path, size in _OWN.items():
        trees.append((path, new_file_system("tmpfs", _FENCED, mode="1777", size=size), True))
    trees.append(("/proc", _processes(as_user=as_user), True))
    root = _Root(new_file_system("tmpfs", _FENCED, mode="755", size="1m"))
    attach(root.tree, "/")
    for path, tree, directory in sorted(trees, key=lambda each: each[0].count("/")):
        root.mount(tree, path, directory=directory)
    for path, target in links.items():  # also in /tmp, which was just mounted
        root.link(path, target)
    for name, target in _DEVICE_LINKS:
        root.link(f"/dev/{name}", target)
    _cover(root, list(given.hidden), plain)
    return root


def _is_shown_above(path: str, attributes: int, shown: "dict[str, int]") -> bool:
    """Whether the next directory above a path that is shown has these attributes: what is there has all below it."""
    at = path.rfind("/")
    while at > 0:
        if path[:at] in shown or path[:at] in _OWN:
            return shown.get(path[:at]) == attributes
        at = path.rfind("/", 0, at)
    return False


def real(path: str, links: "dict[str, str]", plain: "set[str] | None" = None) -> str:
    """Return where a path leads; note each symbolic link on the way with what is written in it.

    What is `plain` is no link: it is not looked at again.
    """
    plain = set() if plain is None else plain
    rest, at = [part for part in path.split("/") if part], ""
    followed = 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            at = at.rpartition("/")[0]
            continue
        if part == ".":
            continue
        here = f"{at}/{part}"
        if here in plain:
            at = here
            continue
        try:
            target = os.readlink(here)  # noqa: PTH115  as above
        except OSError:
            plain.add(here)
            at = here
            continue
        followed += 1
        if followed > _MOST_LINKS:
            return path
        links[here] = target
        rest = [*(each for each in target.split("/") if each), *rest]
        if target.startswith("/"):
            at = ""
    return at or "/"


def _processes(*, as_user: bool) -> int:
    """Return a mount of /proc: only what may be traced shows there, where the kernel gives one."""
    attributes = _FENCED | NO_EXEC | READ_ONLY
    if not as_user:
        try:
            return new_file_system("proc", attributes, hidepid="4")
        except OSError:
            pass
    return copy_of("/proc", _FENCED | NO_EXEC)


def _cover(root: _Root, hidden: "list[str]", plain: "set[str]") -> None:
    """Put something empty over each path that the new root has."""
    found = [path for path in (real(path, {}, plain) for path in hidden) if root.has(path)]
    if not found:
        return
    os.mkdir(_COVER, 0o000, dir_fd=root.tree)
    os.close(os.open(_EMPTY, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o000, dir_fd=root.tree))
    for path in found:
        directory = os.path.isdir(path)  # noqa: PTH112  as on the host
        tree = copy_of(_COVER if directory else _EMPTY, _FENCED | READ_ONLY, below=root.tree)
        attach(tree, path[1:], below=root.tree)
        os.close(tree)


def _lengthen(root: _Root, path: str, text: str) -> None:
    """Put a longer copy over a file of the host, where it is one; as it is, if that cannot be done."""
    name = f".{path.rpartition('/')[2]}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123  pathlib would have to be loaded
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST or os.path.islink(path):  # noqa: PTH114  as above
            return
        longer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=root.tree)
        try:
            os.write(longer, content + text.encode())
        finally:
            os.close(longer)
        tree = copy_of(name, _FENCED | NO_EXEC | READ_ONLY, below=root.tree)
        attach(tree, path[1:], below=root.tree)
        os.close(tree)
    except OSError:  # it says only which name a number has
        return
