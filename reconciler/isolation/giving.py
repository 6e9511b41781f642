"""Give files to the user of an app, or let that user read them, in directories that the app itself may be changing.

Every step opens one name below a directory that is held open, and follows no link. A directory at the top is changed
last: where it is as it should be, so is all below it, and what was interrupted is done again.
"""

import os
import stat
import time

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.planning.isolation.confinement import Confinement

MIXED = 0o1000  # a bit of a home's mode that says nothing else: what has the daemon's user may have written there
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 200
SERVED = "served"  # of a build: written as it begins to serve
_TICKS, _TICK_S = 50, 0.002
_ALL_READ, _ALL_ENTER = 0o004, 0o001
_FEW = 100


def hand_out(given: "Confinement") -> None:
    """Give the user of a confinement what it writes, and let it read the rest of what it sees. Raises OSError."""
    user = given.uid
    if user is None:
        return
    for path in given.owned:
        give_at(path, user)
    for path in given.mixed:
        give_at(path, user, mixed=True)
    for path in given.granted:
        _at(path, lambda top: grant(top, user))
    for path in given.opened:
        _at(path, open_to_all)
    for each in given.shared:
        group, _, path = each.partition(":")
        _share_at(path, int(group))


def hand_out_little(given: "Confinement") -> bool:
    """Do what `hand_out` does if that is little, in a process that others wait for; return whether it has been done.

    Raises OSError.
    """
    user = given.uid
    if user is None:
        return True
    if given.mixed or given.shared:
        return False
    return (
        all(_give_empty(path, user) for path in given.owned)
        and all(_grant_few(path, user) for path in given.granted)
        and all(map(_is_open, given.opened))
    )


def _is_open(path: str) -> bool:
    mode = os.stat(path, follow_symlinks=False).st_mode  # noqa: PTH116  pathlib would have to be loaded
    return stat.S_ISDIR(mode) and _is_open_to_all(mode)


def _give_empty(path: str, user: int) -> bool:
    """Give a directory that has nothing in it; return whether it is the user's."""
    given = False

    def once(top: int) -> None:
        nonlocal given
        if _is_given(os.fstat(top), user):
            given = True
        elif not _names(top):
            give(top, user)
            given = True

    _at(path, once)
    return given


def _grant_few(path: str, group: int) -> bool:
    """Let a group read a directory with few files, none written since it serves; return whether it may."""
    readable, is_little = _survey(path, group)
    if is_little and not readable:
        _at(path, lambda top: grant(top, group))
    return is_little


def _survey(path: str, group: int) -> "tuple[bool, bool]":
    """Return whether a group may read all below a directory, and whether that is little to look at, or to grant."""
    count, readable, written, todo = 0, True, False, [os.open(path, _DIRECTORY)]
    served = _changed_ns(SERVED, todo[0])
    try:
        while todo and count <= _FEW:
            with os.scandir(todo[-1]) as entries:
                top = todo.pop()
                try:
                    readable = readable and _is_granted(os.fstat(top), group)
                    for entry in entries:
                        count += 1
                        if count > _FEW:
                            break
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(found.st_mode):
                            todo.append(os.open(entry.name, _DIRECTORY, dir_fd=top))
                        elif _is_changed(found, linked=False):
                            readable = readable and _is_granted(found, group)
                            written = written or 0 < served < found.st_ctime_ns
                finally:
                    os.close(top)
    finally:
        for each in todo:
            os.close(each)
    return readable, count <= _FEW and (readable or not written)


def give_at(path: str, user: int, *, mixed: bool = False) -> None:
    """Give a directory as `give` does, if there is one. Raises OSError."""
    _at(path, lambda top: give(top, user, mixed=mixed))


def give(top: int, user: int, *, mixed: bool = False) -> None:
    """Give a directory and all below it to a user and its group; again later, if it stays `mixed`. Raises OSError."""

    def change(at: "str | int", found: os.stat_result) -> None:
        if (found.st_uid, found.st_gid) != (user, user):
            os.chown(at, user, user)

    found = os.fstat(top)
    if not _is_given(found, user):
        os.fchmod(top, 0o700 | found.st_mode & MIXED)  # whatever ends this before its end
        _walk(top, change)
        os.fchmod(top, 0o700 | (MIXED if mixed else 0))


def _is_given(top: os.stat_result, user: int) -> bool:
    return top.st_uid == user and not top.st_mode & MIXED


def grant(top: int, group: int) -> None:
    """Let a group read a directory and all below it, and have it be ours. Raises OSError.

    Of a build, a file that its app has written since it was marked as serving has changed after that mark, still, and
    no other file has.
    """
    served = _changed_ns(SERVED, top)
    written: list[str] = []
    latest = 0

    def change(at: "str | int", found: os.stat_result) -> None:
        nonlocal latest
        if served and found.st_ctime_ns > served and isinstance(at, str) and stat.S_ISREG(found.st_mode):
            written.append(os.readlink(at))  # noqa: PTH115  pathlib would have to be loaded
        if allow(at, found):
            latest = max(latest, os.stat(at).st_ctime_ns)  # noqa: PTH116  as above

    def allow(at: "str | int", found: os.stat_result) -> bool:
        mode = stat.S_IMODE(found.st_mode)
        readable = _readable(mode)
        differs = found.st_uid != os.geteuid() or found.st_gid != group
        if differs:
            os.chown(at, os.geteuid(), group)
        if mode != readable:
            os.chmod(at, readable)  # noqa: PTH101  as above
        return differs or mode != readable

    _walk(top, change)
    if served and latest > served:
        os.utime(SERVED, ns=(latest, latest), dir_fd=top)
        for path in written:
            _change(path, lambda at, _: _changed_after(at, latest))


def _readable(mode: int) -> int:
    return mode & 0o700 | (mode & 0o500) >> 3


def _is_granted(found: os.stat_result, group: int) -> bool:
    mode = stat.S_IMODE(found.st_mode)
    return found.st_uid == os.geteuid() and found.st_gid == group and mode == _readable(mode)


def _changed_ns(name: str, top: int) -> int:
    """Return when a file was last written, 0 without one."""
    try:
        return os.stat(name, dir_fd=top, follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def _changed_after(at: str, moment_ns: int) -> None:
    """Have a file count as changed after a moment: the kernel's clock of files ticks some hundred times a second."""
    for _ in range(_TICKS):
        found = os.stat(at)  # noqa: PTH116  as above
        if found.st_ctime_ns > moment_ns:
            return
        time.sleep(_TICK_S)
        os.chmod(at, stat.S_IMODE(found.st_mode))  # noqa: PTH101  as above


def open_to_all(top: int) -> None:
    """Let all read a directory and what is below it: what lies in one of the daemon's own, and is seen by apps only."""

    def change(at: "str | int", found: os.stat_result) -> None:
        mode = stat.S_IMODE(found.st_mode)
        wanted = mode | _ALL_READ | (_ALL_ENTER if mode & 0o100 else 0)
        if mode != wanted:
            os.chmod(at, wanted)  # noqa: PTH101  as above

    if not _is_open_to_all(os.fstat(top).st_mode):
        _walk(top, change, linked=True)


def _is_open_to_all(mode: int) -> bool:
    return mode & 0o005 == 0o005


def share(top: int, group: int) -> None:
    """Let a group read and write the files of a directory, and make others there. Raises OSError."""

    def change(at: str, found: os.stat_result) -> None:
        if found.st_gid != group:
            os.chown(at, -1, group)
        if stat.S_IMODE(found.st_mode) != 0o660:
            os.chmod(at, 0o660)  # noqa: PTH101  as above

    for name in _names(top):
        _change(name, lambda at, found: change(at, found) if _is_single(found) else None, below=top)
    found = os.fstat(top)
    if found.st_gid != group:
        os.fchown(top, -1, group)
    if stat.S_IMODE(found.st_mode) != 0o2770:
        os.fchmod(top, 0o2770)


def _share_at(path: str, group: int) -> None:
    _at(path, lambda top: share(top, group))


def _at(path: str, do: "Callable[[int], None]") -> None:
    """Do something with a directory that is held open; nothing, if there is none."""
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        do(top)
    finally:
        os.close(top)


def _walk(
    top: int, change: "Callable[[str | int, os.stat_result], None]", *, linked: bool = False, depth: int = 0
) -> None:
    """Change all below a directory, then itself; a file with other names only if these are `linked` by us alone."""

    def each(at: str, found: os.stat_result) -> None:
        if _is_changed(found, linked=linked):
            change(at, found)

    for name in _names(top):
        try:
            deeper = os.open(name, _DIRECTORY, dir_fd=top)
        except FileNotFoundError:
            continue
        except OSError:  # no directory, or a link
            _change(name, each, below=top)
            continue
        try:
            if depth < _DEEPEST:
                _walk(deeper, change, linked=linked, depth=depth + 1)
        finally:
            os.close(deeper)
    change(top, os.fstat(top))


def _is_changed(found: os.stat_result, *, linked: bool) -> bool:
    """Whether a file that is no directory is one to change: no device, no link, nor one with a name elsewhere."""
    kind = found.st_mode
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or (stat.S_ISREG(kind) and (linked or found.st_nlink == 1))


def _is_single(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _names(top: int) -> "list[str]":
    return os.listdir(top)


def _change(name: str, change: "Callable[[str, os.stat_result], None]", *, below: "int | None" = None) -> None:
    """Change a file itself, whatever is at its name by now; nothing, if there is none."""
    try:
        held = os.open(name, _LOOK, dir_fd=below)
    except FileNotFoundError:
        return
    try:
        change(f"/proc/self/fd/{held}", os.fstat(held))
    finally:
        os.close(held)
