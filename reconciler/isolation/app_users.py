"""Lease every isolated app a user of its own, and every service in files a group: numbers of one range of this host.

A lease is on the disk before its number is used. It ends only once no file and no process of that number is left.
"""

import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache

from reconciler.isolation.app_namespace import NEEDED, no_warden
from reconciler.isolation.user_claims import Claims
from reconciler.isolation.user_leases import (
    APP,
    BUILDER,
    COMMON_BUILDER,
    LOST,
    SERVICE,
    alone,
    found_owners,
    has_files,
    is_known,
    leased_in,
    leases,
    read_leases,
    write_leases,
)
from reconciler.linux.error_words import in_words
from reconciler.linux.privileges import may
from reconciler.linux.process_identity import has_processes
from reconciler.linux.regular_files import UnfitFile
from reconciler.linux.user_namespaces import subordinate, users_of
from reconciler.state.paths import StatePaths

_REMEDY = "take it out of one of the two; that app gets another at its next start"
_WIDEN = "widen isolation.uids of the host's settings"
_BUILDERS = 8  # one in so many numbers: the rest is for apps
_SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  where any user leaves files


class NoUser(Exception):
    """An app cannot have a user of its own; the text says why."""


class AppUsers:
    """The users of the apps of one state directory, from a range; files of theirs may lie in `elsewhere`, too."""

    def __init__(self, paths: StatePaths, numbers: range, elsewhere: Sequence[str] = ()) -> None:
        self._paths = paths
        self._numbers = numbers
        self._elsewhere = tuple(elsewhere)
        self._claims = Claims(paths.state, leased_in)
        self._claimed: set[int] = set()

    def lacks(self) -> str:
        """Return why apps get no user of their own from this process, "" if they do."""
        return _lacks(self._numbers.start, self._numbers[-1])

    def of(self, app: str) -> int:
        """Return the user of an app, which is its group, too; leased now if it has none. Raises NoUser, OSError."""
        return self._lease(f"{APP}{app}")

    def of_service(self, name: str, service: str) -> int:
        """Return the group of those that share the files of a service. Raises NoUser, OSError."""
        return self._lease(f"{SERVICE}{name}.{service}")

    def of_builds(self, app: str) -> int:
        """Return the user of what builds an app, which owns no file. Raises NoUser, OSError.

        Once as many apps have one of those as may, or if this one cannot have its own, it is the one in common.
        """
        name, found = f"{BUILDER}{app}", leases(self._paths)
        if name in found or self._own_builders(found) < len(self._numbers) // _BUILDERS:
            with suppress(NoUser, UnfitFile):  # all are in use, or another daemon has it, too
                return self._lease(name)
        return self._lease(COMMON_BUILDER)

    def builders(self) -> Mapping[int, str]:
        """Return the users of what builds apps, each with its app, "" for the one in common."""
        found = leases(self._paths).items()
        own = {number: name.removeprefix(BUILDER) for name, number in found if name.startswith(BUILDER)}
        return own | {number: "" for name, number in found if name == COMMON_BUILDER}

    def _own_builders(self, found: Mapping[str, int]) -> int:
        """Return how many apps that are there are built by a user of their own."""
        names = (name.removeprefix(BUILDER) for name in found if name.startswith(BUILDER))
        return sum(os.path.lexists(self._paths.app(name)) for name in names)

    def known(self, app: str) -> int | None:
        """Return the user of an app, None if it has none."""
        return leases(self._paths).get(f"{APP}{app}")

    def claim(self) -> None:
        """Claim what is leased, before another daemon gives it out; what another has is told when its app starts."""
        found = frozenset(leases(self._paths).values())
        with suppress(OSError):
            for number in found:
                self._claim(number)

    def others(self) -> Iterator[tuple[str, int, str]]:
        """Return the leases whose number another daemon of this host gives out, too: name, number, and by which."""
        for name, number in leases(self._paths).items():
            if other := self._claims.other(number, leased=True):
                yield name, number, other

    def unclaimed(self) -> str:
        """Return where no claims can be made, so that no other daemon knows of what is leased, "" if they can."""
        with suppress(OSError):
            if leases(self._paths):
                with self._claims.alone() as usable:
                    return "" if usable else str(self._claims.place)
        return ""

    def _claim(self, number: int) -> str:
        """Claim a number that is leased here; return which other daemon has it, "" for none. Raises OSError."""
        if number in self._claimed:
            return ""
        with self._claims.alone() as usable:
            other = self._claims.other(number, leased=True)
            if not other and usable:
                self._claims.take(number)
        if not other:
            self._claimed.add(number)
        return other

    def _lease(self, name: str) -> int:
        found = leases(self._paths)
        try:
            if name not in found:
                found = self._with_one_more(name)
            other = self._claim(found[name])
        except UnfitFile:
            raise
        except OSError as error:
            reason = f"cannot give out a user: {in_words(error)}; apps that have one go on"
            raise UnfitFile(reason, self._paths.users) from error
        if other:
            raise UnfitFile(f"it gives {found[name]} to {name}, and {other} has it, too: {_REMEDY}", self._paths.users)
        others = [other for other, number in found.items() if number == found[name] and other != name]
        if others:
            raise UnfitFile(
                f"it gives {found[name]} to {name} and to {others[0]}: take one out of it", self._paths.users
            )
        return found[name]

    def _with_one_more(self, name: str) -> Mapping[str, int]:
        """Write a lease; what is found of others first where the file is damaged or lost. Raises NoUser, OSError."""
        with alone(self._paths), self._claims.alone() as usable:
            stored = read_leases(self._paths)
            found = dict(stored.leases)
            if not stored.whole:
                lost = found_owners(self._left_elsewhere(), self._ours()) & {*self._numbers} - {*found.values()}
                found |= {f"{LOST}{number}": number for number in lost}
            if name not in found:
                found = self._with(name, found)
                if usable:
                    self._claims.take(found[name])
            write_leases(self._paths, found, instead=stored)
            if usable:
                for ended in {*stored.leases.values()} - {*found.values()}:
                    self._claims.give_up(ended)
        return found

    def _with(self, name: str, found: Mapping[str, int]) -> dict[str, int]:
        """Return leases with one more; those of which nothing is left end only if there is no other number."""
        number = self._free(found.values())
        if number is None:
            found = {each: number for each, number in found.items() if self._is_used(each, number)}
            number = self._free(found.values())
        if number is None:
            first, last = self._numbers.start, self._numbers[-1]
            raise NoUser(f"all users from {first} to {last} are in use{self._by_others()}: {_WIDEN}")
        return {**found, name: number}

    def _by_others(self) -> str:
        """Say who else has them, as far as an operator can help it."""
        other, absent = self._claims.other(self._numbers.start, leased=False), self._claims.of_absent()
        if absent:
            return f", {len(absent)} by state directories that are not there, as {absent[0]} (see {self._claims.place})"
        return f", the first by {other}" if other else ""

    def _is_used(self, name: str, number: int) -> bool:
        """Whether something is left of a lease: directories of the app, a process, or a file of that user."""
        if name == COMMON_BUILDER:  # the next build has it
            return True
        kind, _, rest = name.partition(":")
        if f"{kind}:" == SERVICE:
            service, _, id_ = rest.rpartition(".")
            return os.path.lexists(self._paths.service(service, id_))
        if f"{kind}:" == BUILDER:  # it owns no file
            return os.path.lexists(self._paths.app(rest)) or has_processes(number)
        if f"{kind}:" == APP and any(os.path.lexists(each) for each in (self._paths.home(rest), self._paths.app(rest))):
            return True
        return has_processes(number) or has_files(number, self._left_elsewhere(), self._ours())

    def _ours(self) -> tuple[str, ...]:
        """Return the directories in which apps have files, besides homes; all below is looked at."""
        return str(self._paths.state / "services"), str(self._paths.short_scratches), *self._elsewhere

    def _left_elsewhere(self) -> tuple[str, ...]:
        return *self._ours(), *_SHARED

    def _free(self, taken: Collection[int]) -> int | None:
        """Return a number that nothing here has; two state directories begin at different ones."""
        used, others = {*taken}, list(subordinate())
        size = len(self._numbers)
        start = zlib.crc32(os.fsencode(self._paths.state))
        for offset in range(size):
            number = self._numbers[(start + offset) % size]
            if number in used or any(number in each for each in others) or is_known(number) or has_processes(number):
                continue
            if not self._claims.other(number, leased=False):
                return number
        return None


def app_users(paths: StatePaths) -> Mapping[int, str]:
    """Return the apps that have a user of their own, by user."""
    return {number: name.removeprefix(APP) for name, number in leases(paths).items() if name.startswith(APP)}


@cache
def _lacks(first: int, last: int) -> str:
    missing = [f"CAP_{name}" for name, number in NEEDED.items() if not may(number)]
    if missing and os.geteuid() != 0:
        why = no_warden() or "it was started before its warden gave users: restart it"
        return f"the daemon is not root, and {why}"
    if missing:
        return f"the daemon lacks {' and '.join(missing)}"
    if any(first in each and last in each for each in users_of()):
        return ""
    return f"the users from {first} to {last} are not those of this container: set isolation.uids"
