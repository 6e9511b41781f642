"""Decide what the commands see and reach that build an isolated app, and as which user they run."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from reconciler.isolation.app_users import AppUsers, NoUser
from reconciler.isolation.launching import confined, held_back
from reconciler.isolation.main import NO_REPORT
from reconciler.linux.error_words import in_words
from reconciler.planning.isolation.confinement import NOT_YET, Confinement, Isolated, Part, builds_held_to
from reconciler.planning.isolation.destinations import Place
from reconciler.serving.host_sight import HostSight, of_the_system
from reconciler.serving.programs.sight import ours

_PARTS: tuple[Part, ...] = ("files", "processes", "syscalls")
_ACCOUNT = "builder:/tmp"  # its home is what a command is told
_FREELY: Mapping[str, Any] = MappingProxyType({})

ConfinedCommand: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], tuple[tuple[str, ...], dict[str, str]]]


class BuildConfinements:
    """The confinement of what builds each app: it sees what the `host` lets it, and runs as one of the `users`.

    `packages` are places of this host that packages come from. `admit` is told of each app before something builds it,
    with the group that this has, and says whether rules of the kernel hold it, or why not; it may raise OSError. While
    something isolated of an app runs as the daemon's user, as `has_our_user` tells, there is no such group.
    """

    def __init__(self, host: HostSight, *, users: AppUsers | None = None, packages: tuple[Place, ...] = ()) -> None:
        self.packages = packages
        self.has_our_user: Callable[[str], bool] = lambda _: False
        self.admit: Callable[[str, int], tuple[bool, str]] = lambda _, __: (False, "")
        self._host = host
        self._users = users
        self._known: Mapping[int, str] = {}

    def users(self) -> Mapping[int, str]:
        """Return the users of what builds apps, each with its app, "" for one in common; as ever, if no file tells."""
        if self._users is not None and os.geteuid() == 0:
            self._known = self._users.builders() or self._known
        return self._known

    def of_app(self, app: str, isolation: Isolated) -> Callable[..., ConfinedCommand]:
        """Return what confines the commands that build an app, as `of` does. Raises OSError.

        Where rules of the kernel know them by their group, they reach no more of this host than the manifest says.
        """
        user = self._leased_user(app)  # before rules are made that know it
        group, why = self._group(app, isolation)
        held = builds_held_to(isolation, [place.port for place in self.packages], group=group, why=why)
        if user is not None and self._users is not None:
            held = {"gid": self._users.known(app) or user, **held, "uid": user}
        return partial(self.of, isolation, held=held)

    def of(  # noqa: PLR0913  each is another part of what a build may do
        self,
        isolation: Isolated,
        directory: str,
        *,
        visible: Sequence[str],
        writable: Sequence[str],
        cells: tuple[str, ...] = (),
        held: Mapping[str, Any] = _FREELY,
    ) -> ConfinedCommand:
        """Return what confines a command that builds an app of that isolation, and begins in `directory`.

        It reaches the network for packages as it is `held`, and sees these paths and what the app may see of the host,
        no app's own. It enters the control groups of `cells`. As a user of its own, it has root's rights on what it is
        given, and what it makes is root's.
        """
        mounts = self._host.allowed(isolation.mounts)
        seen = (*(each.path for each in mounts if not each.write), *visible)
        changed = (*(each.path for each in mounts if each.write), *writable)
        if "uid" in held:
            held = {**held, "mapped": ("/etc", *ours(), *seen, *changed), "account": _ACCOUNT}
        given = Confinement(
            isolation="strict",
            visible=(*of_the_system(), *ours(), *seen),
            writable=changed,
            hidden=self._host.hidden(),
            shut=(*self._host.shut, *self._host.secrets),
            alone=self._host.alone,
            cells=cells,
            daemon=os.getpid(),
            directory=directory,
            required=self._required(isolation, held.get("connects")),
            **held,
        )
        return lambda words, environment: (confined(words, given, NO_REPORT), held_back(environment))

    def _required(self, isolation: Isolated, connects: str | None) -> tuple[Part, ...]:
        from reconciler.isolation.fence import BY_RULES  # apps without isolation need none of it

        parts = (*_PARTS, *(("network",) if isolation.kind == "strict" else ()))
        by_list: tuple[Part, ...] = ("network",) if isolation.by_user and connects in BY_RULES else ()
        return tuple(dict.fromkeys((*(part for part in self._host.required if part in parts), *by_list)))

    def _leased_user(self, app: str) -> int | None:
        """Return whom commands run as that build an app; None if that is the daemon's user, as no other could do it."""
        if self._users is None or os.geteuid() != 0 or self._users.lacks():
            return None
        try:
            return self._users.of_builds(app)
        except (NoUser, OSError):  # not even the one in common: an app that has none of its own is told
            return None

    def _group(self, app: str, isolation: Isolated) -> tuple[int | None, str]:
        """Return the group of what builds an app, None if no rules of the kernel hold that, and why."""
        if self._users is None or isolation.kind != "strict":
            return None, ""
        if why := self._users.lacks():
            return None, why
        if self._users.known(app) is None and self.has_our_user(app):
            return None, NOT_YET
        try:
            group = self._users.of(app)
            is_held, why = self.admit(app, group)
        except NoUser as error:
            return None, str(error)
        except OSError as error:
            if isolation.by_user:
                raise
            return None, in_words(error)
        return (group if is_held else None), why
