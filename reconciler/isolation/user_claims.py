"""Claim the users of apps on a whole host: a number that one state directory has is given out by no other.

A claim is a symbolic link from the number to the state directory: it is there or not, whatever ends the process that
makes it. It holds as long as the leases of that directory have the number. A warden claims all of its numbers at once.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from reconciler.linux.regular_files import UnfitFile

PLACE = Path("/var/lib/reconciler-users")  # root's
VARIABLE = "RECONCILER_USERS"  # another path of it
_LOCK, _WARDENS, _NEW = "lock", "wardens", ".new"
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)  # as in a container
_WAIT_S, _WAIT_EACH_S = 3.0, 0.01

# What is leased in a state directory; None if that cannot be known.
Leased: TypeAlias = Callable[[Path], Mapping[str, int] | None]


class Claimed(Exception):
    """Users of a warden are those of others, too; the text says whose."""


class Claims:
    """The claims of one state directory, among those of all daemons of its user."""

    def __init__(self, state: Path, leased: Leased) -> None:
        self._own = os.path.realpath(state)
        self._leased = leased
        top, user = _top(), os.geteuid()
        self._wardens = top / _WARDENS if user == 0 else None
        self.place = top if user == 0 else _place_below(top, user)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Have no other daemon claim meanwhile; give whether claims can be made here. Raises OSError."""
        with _alone(self.place, makes=os.geteuid() == 0) as usable:
            yield usable

    def other(self, number: int, *, leased: bool) -> str:
        """Return which other daemon has a number, "" for none.

        One that is `leased` here is ours even if a state directory that is gone has claimed it; no other one is.
        """
        owner = _owner(self.place / str(number))
        if owner not in ("", self._own):
            found = self._leased(Path(owner)) if os.path.lexists(owner) else {} if leased else None
            if found is None or number in found.values():
                return owner
        wardens = () if self._wardens is None else _ranges(self._wardens)
        return next((f"the warden of user {user}" for numbers, user in wardens if number in numbers), "")

    def take(self, number: int) -> None:
        """Claim a number. Raises OSError."""
        if _owner(self.place / str(number)) != self._own:
            _link(self.place / str(number), self._own)

    def give_up(self, number: int) -> None:
        """End the claim of a number that is leased no more. Raises OSError."""
        if _owner(self.place / str(number)) == self._own:
            (self.place / str(number)).unlink()

    def of_absent(self) -> list[str]:
        """Return the state directories that are not there and have claims, each as often as it has one."""
        return [owner for _, owner in _claims(self.place) if not os.path.lexists(owner)]


def claim_for_warden(numbers: range, user: int, group: int, leased: Leased) -> bool:
    """Claim all numbers for the daemons of a user; return whether claims can be made here.

    Raises Claimed if another one has some of them, OSError.
    """
    top = _top()
    with _alone(top, makes=True) as usable:
        if not usable:
            return False
        for others, owner in _ranges(top / _WARDENS):
            if owner != user and set(numbers) & set(others):
                path = top / _WARDENS / _named(others)
                raise Claimed(f"those of the warden of user {owner}: choose others, or remove {path} if it is gone")
        for number, state in _claims(top):
            if number in numbers and _is_of_another(state, number, user, leased):
                path = top / str(number)
                raise Claimed(f"{number} is that of an app of {state}: choose others, or remove {path} if it is gone")
        (top / _WARDENS).mkdir(mode=0o755, exist_ok=True)
        _link(top / _WARDENS / _named(numbers), str(user))
        place = _place_below(top, user)
        place.mkdir(mode=0o700, exist_ok=True)
        os.chown(place, user, group, follow_symlinks=False)
        return True


@contextmanager
def locked_alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there. Raises OSError, after a while if it stays held."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UnfitFile("another process has not ended giving out users", path) from None
                time.sleep(_WAIT_EACH_S)
        yield
    finally:
        os.close(lock)


@contextmanager
def _alone(place: Path, *, makes: bool) -> Iterator[bool]:
    with ExitStack() as held:
        try:
            if makes:
                place.mkdir(mode=0o755, parents=True, exist_ok=True)
            held.enter_context(locked_alone(place / _LOCK))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            usable = False
        else:
            usable = True
        yield usable


def _is_of_another(state: str, number: int, user: int, leased: Leased) -> bool:
    """Whether a claim is of a state directory of another user, and holds; one that is not there may be on a disk."""
    try:
        if os.lstat(state).st_uid == user:
            return False
    except OSError:
        return True
    found = leased(Path(state))
    return found is None or number in found.values()


def _top() -> Path:
    return Path(os.environ.get(VARIABLE) or PLACE)


def _place_below(top: Path, user: int) -> Path:
    return top / f"of-{user}"


def _named(numbers: range) -> str:
    return f"{numbers.start}-{numbers[-1]}"


def _link(path: Path, target: str) -> None:
    """Have a path be a link to a target, whatever it was before. Raises OSError."""
    draft = path.with_name(_NEW)
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.rename(path)


def _owner(path: Path) -> str:
    with suppress(OSError):
        return os.readlink(path)  # noqa: PTH115  text
    return ""


def _claims(place: Path) -> Iterator[tuple[int, str]]:
    """Return each number that is claimed, and the state directory that has it."""
    with suppress(OSError):
        for name in os.listdir(place):  # noqa: PTH208  names are all there is to know
            if name.isdecimal() and (owner := _owner(place / name)):
                yield int(name), owner


def _ranges(wardens: Path) -> Iterator[tuple[range, int]]:
    """Return the numbers of each warden, and the user whose daemons get them."""
    with suppress(OSError):
        for name in os.listdir(wardens):  # noqa: PTH208  as above
            first, _, last = name.partition("-")
            with suppress(ValueError):
                yield range(int(first), int(last) + 1), int(_owner(wardens / name))
