"""Know what uses the builds of apps beside the instances that serve: processes, tasks."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a revision, and so of its build, both by id: as long as it lasts, neither goes away.

    The credentials and the files of the revision stay, too.
    """

    revision: str
    build: str


_NONE: frozenset[str] = frozenset()  # each empty set that is built is an object of its own
User: TypeAlias = Callable[[str], Iterable[Use]]


class BuildUsers:
    """Every user of builds. One that ends wakes the app, since what it used may go then."""

    def __init__(self) -> None:
        self._users: list[User] = []

    def add(self, user: User) -> None:
        """Ask this user, too: a function that returns its uses of an app by name."""
        self._users.append(user)

    def of(self, app: str) -> frozenset[Use]:
        """Return every use of an app's builds just now."""
        return frozenset(use for user in self._users for use in user(app))

    def builds(self, app: str) -> frozenset[str]:
        """Return the builds of an app that are used just now."""
        found = [use.build for user in self._users for use in user(app)]
        return frozenset(found) if found else _NONE
