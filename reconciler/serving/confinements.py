"""Decide what each isolated instance sees of this host, and what it is to try from inside.

Of the state directory it sees its own directories, and nothing else is there.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from reconciler.isolation.app_users import AppUsers, NoUser, app_users
from reconciler.isolation.cells import CELL_VARIABLE
from reconciler.isolation.giving import MIXED, give_at
from reconciler.isolation.launching import confined, held_back
from reconciler.isolation.main import NO_REPORT
from reconciler.linux.error_words import in_words
from reconciler.planning.apps.revision import Revision
from reconciler.planning.isolation.confinement import (
    Confinement,
    Isolated,
    Part,
    builds_held_to,
    held_to,
    needs_network_part,
)
from reconciler.planning.isolation.destinations import Place
from reconciler.serving.programs.gunicorn import Code, InstancePaths
from reconciler.serving.programs.program import Program, Sight
from reconciler.serving.programs.sight import ours, sight_of
from reconciler.settings.package_places import package_places
from reconciler.settings.server_places import place_for_apps
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

_OF_THE_KERNEL = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_RESOLVER = "/etc/resolv.conf"  # a link to what /run has, where systemd resolves names
_BY_RULES = {"rules", "most"}
_OF_BUILDS: tuple[Part, ...] = ("files", "processes", "syscalls")
_BUILDER = "builder:/tmp"  # its home is what a command is told
_FREELY: Mapping[str, Any] = MappingProxyType({})
_NO_USER = "rules of the kernel know an app by a user of its own, which it lacks"
_NOT_YET = "what runs of it has the daemon's user; it gets its own once it is stopped and started again"

ConfinedCommand: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], tuple[tuple[str, ...], dict[str, str]]]


class Confinements:
    """The confinement of each instance on this host.

    `secrets` are files of the daemon that no app may read, `sockets` and `ports` those of servers by their type;
    without the `required` parts nothing starts. `mounts` are what apps may see of the host, wherever links in it lead.
    `users` are those of apps; while something isolated of one runs as the daemon's user, as `has_our_user` tells, it
    gets none. While one without isolation runs, as `is_open` tells, what it writes is given to the user once it has
    ended. `packages` are places of this host that packages come from. `admit` is told of each app before something of
    it starts, with its user and whether that is an instance, and says whether rules of the kernel hold it to where it
    may connect; it may raise OSError. Names in lists are `looked_up` before that. `admit_builds` says so of what
    builds an app, with the group that this has, or why not.
    """

    def __init__(  # noqa: PLR0913  each is another part of what apps may see
        self,
        paths: StatePaths,
        *,
        secrets: Sequence[Path] = (),
        sockets: Sequence[tuple[str, str]] = (),
        ports: Sequence[tuple[str, int]] = (),
        required: tuple[Part, ...] = (),
        mounts: Sequence[str] = (),
        users: AppUsers | None = None,
        packages: tuple[Place, ...] = (),
    ) -> None:
        self._users = users
        self.packages = packages
        self.has_our_user: Callable[[str], bool] = lambda _: False
        self.is_open: Callable[[str], bool] = lambda _: False
        self.admit: Callable[[str, int, bool], bool] = lambda _, __, ___: False
        self.admit_builds: Callable[[str, int], tuple[bool, str]] = lambda _, __: (False, "")
        self.looked_up: Callable[[], Awaitable[None]] = _at_once
        self._builder: int | None = None
        self._paths = paths
        self._secrets = tuple(map(str, secrets))
        self._sockets = sockets
        self._ports = ports
        self.required = required
        self._mounts = [os.path.realpath(path) for path in mounts]

    def of(self, program: Program, places: InstancePaths, instance: str, cells: tuple[str, ...]) -> Confinement | None:
        """Return what an instance of a program sees, None for one that is not isolated. Raises OSError."""
        sight = program.sight
        if sight is None:
            self._mix(program.app, places)
            return None
        seen = self._seen(sight, program.app, program.directory, places, is_instance=True)
        own = str(places.readiness / instance)
        return replace(
            seen,
            visible=(*seen.visible, str(places.wakeup_file)),
            writable=(*seen.writable, own),
            owned=(*seen.owned, own) if seen.uid is not None else (),
            cells=cells,
            access_log=str(places.access_log) if program.logs_access else "",
        )

    async def ready(self, isolation: Isolated) -> None:
        """Wait until an app can be started of that isolation: names in its list have been looked up."""
        if isolation.by_user:
            await self.looked_up()

    def claim_users(self) -> None:
        """Claim the users of apps, so that no other daemon of this host gives them out."""
        if self._users is not None:
            self._users.claim()

    def app_users(self) -> Mapping[int, str]:
        """Return the apps that have users of their own, by user."""
        return app_users(self._paths)

    def around(  # noqa: PLR0913  each is another part of what a command is
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        revision: Revision,
        code: Code,
        places: InstancePaths,
        *,
        builds: bool = False,
        beside: int | None = None,
        cells: tuple[str, ...] = (),
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return a command of a revision, and its variables, as one that confines itself; as it is without isolation.

        One that `builds` may write in its build. It tries to reach the process `beside`, the daemon unless given. It
        enters `cells`, and none that a variable names: the manifest may have set that, and nothing is confined yet.
        Raises OSError.
        """
        sight = sight_of(revision, code.python)
        if sight is None:
            self._mix(revision.app, places)
            return tuple(words), dict(environment)
        link_mounts(sight, places)
        seen = self._seen(sight, revision.app, revision.id, places)
        build = str(self._paths.builds(revision.app) / sight.build)
        if builds:
            seen = replace(
                seen,
                visible=tuple(path for path in seen.visible if path != build),
                writable=(*seen.writable, build),
                fixed=tuple(path for path in seen.fixed if path != build),
                owned=(*seen.owned, build) if seen.uid is not None else (),
                granted=tuple(path for path in seen.granted if path != build),
            )
        given = {name: value for name, value in environment.items() if name != CELL_VARIABLE}
        seen = replace(seen, cells=cells, directory=code.directory, daemon=seen.daemon if beside is None else beside)
        return confined(words, seen, NO_REPORT), held_back({**seen.as_variables(), **given})

    def building(self, app: str, isolation: Isolated) -> Callable[..., ConfinedCommand]:
        """Return what confines the commands that build for an app, as `of_builds` does. Raises OSError.

        Where rules of the kernel know them by their group, they reach no more of this host than the manifest says.
        """
        user = self._user_of_builds()  # before rules are made that know it
        group, why = self._group_of_builds(app, isolation)
        held = builds_held_to(isolation, [place.port for place in self.packages], group=group, why=why)
        if user is not None and self._users is not None:
            held = {"gid": self._users.known(app) or user, **held, "uid": user}
        return partial(self.of_builds, isolation, held=held)

    def _user_of_builds(self) -> int | None:
        """Return whom commands run as that build apps; None if that is the daemon's user, as no other could do it."""
        if self._users is None or os.geteuid() != 0 or self._users.lacks():
            return None
        try:
            return self._users.of_builds()
        except (NoUser, OSError):  # told when an app asks for its own
            return None

    def builder(self) -> int | None:
        """Return the user of what builds apps, None while there is none; as it was, should no file tell any more."""
        if self._users is not None and os.geteuid() == 0:
            self._builder = self._users.known_of_builds() or self._builder
        return self._builder

    def _group_of_builds(self, app: str, isolation: Isolated) -> tuple[int | None, str]:
        """Return the group of what builds an app, None if no rules of the kernel hold that, and why."""
        if self._users is None or isolation.kind != "strict":
            return None, ""
        if why := self._users.lacks():
            return None, why
        if self._users.known(app) is None and self.has_our_user(app):
            return None, _NOT_YET
        try:
            group = self._users.of(app)
            is_held, why = self.admit_builds(app, group)
        except NoUser as error:
            return None, str(error)
        except OSError as error:
            if isolation.by_user:
                raise
            return None, in_words(error)
        return (group if is_held else None), why

    def of_builds(  # noqa: PLR0913  each is another part of what a build may do
        self,
        isolation: Isolated,
        directory: str,
        *,
        visible: Sequence[str],
        writable: Sequence[str],
        cells: tuple[str, ...] = (),
        held: Mapping[str, Any] = _FREELY,
    ) -> ConfinedCommand:
        """Return what confines a command that builds for an app of that isolation, and begins in `directory`.

        It reaches the network for packages as it is `held`, and sees these paths and what the app may see of the host,
        no app's own. It enters the control groups of `cells`. As a user of its own, it has root's rights on what it is
        given, and what it makes is root's.
        """
        parts = (*_OF_BUILDS, *(("network",) if isolation.kind == "strict" else ()))
        by_list: tuple[Part, ...] = ("network",) if isolation.by_user and held.get("connects") in _BY_RULES else ()
        mounts = [mount for mount in isolation.mounts if self._may_see(mount.path)]
        seen = (*(each.path for each in mounts if not each.write), *visible)
        changed = (*(each.path for each in mounts if each.write), *writable)
        if "uid" in held:
            held = {**held, "mapped": ("/etc", *ours(), *seen, *changed), "account": _BUILDER}
        given = Confinement(
            isolation="strict",
            visible=(*_of_the_system(), *ours(), *seen),
            writable=changed,
            hidden=self._hidden(),
            shut=(str(self._paths.database), str(self._paths.control), *self._secrets),
            alone=(str(self._paths.apps), str(self._paths.home("any").parent)),
            cells=cells,
            daemon=os.getpid(),
            directory=directory,
            required=tuple(dict.fromkeys((*(part for part in self.required if part in parts), *by_list))),
            **held,
        )
        return lambda words, environment: (confined(words, given, NO_REPORT), held_back(environment))

    def _hidden(self) -> tuple[str, ...]:
        from reconciler.isolation.fence import SECRET  # apps without isolation see all there is

        return (*SECRET, *self._secrets)

    def _seen(
        self, sight: Sight, app: str, directory: str, places: InstancePaths, *, is_instance: bool = False
    ) -> Confinement:
        """Return what anything of an app sees."""
        build = str(self._paths.builds(app) / sight.build)
        mounts = [mount for mount in sight.isolation.mounts if self._may_see(mount.path)]
        types = {kind for kind, _, _ in sight.services}
        files = [self._paths.service(name, service) for kind, name, service in sight.services if kind == "sqlite"]
        own, strict = (places.home, places.scratch, *files), sight.isolation.kind == "strict"
        ownership = self._ownership(sight, app, directory, places)
        network: tuple[Part, ...] = ("network",) if needs_network_part(sight.isolation) else ()
        is_held, why = self._held(sight.isolation, app, ownership, is_instance=is_instance)
        return Confinement(
            **ownership,
            **held_to(sight.isolation, [at for kind, at in self._ports if kind in types], is_held=is_held, why=why),
            isolation=sight.isolation.kind,
            visible=(
                *(_of_the_system() if strict else ()),
                *sight.readable,
                build,
                str(places.revisions / directory),
                *(socket for kind, socket in self._sockets if kind in types),
                *(mount.path for mount in mounts if not mount.write),
            ),
            writable=(*map(str, own), *(mount.path for mount in mounts if mount.write)),
            hidden=self._hidden(),
            # A user alone reads what the host lets all users read, such as settings.
            shut=(str(self._paths.database), str(self._paths.control), *(self._secrets if strict else ())),
            alone=(str(self._paths.apps), str(self._paths.home("any").parent)),
            fixed=(build, *sight.readable),
            daemon=os.getpid(),
            listens="all" if sight.opens else "none",
            required=tuple(dict.fromkeys((*self.required, *network))),
        )

    def _held(
        self, isolation: Isolated, app: str, ownership: Mapping[str, Any], *, is_instance: bool
    ) -> tuple[bool, str]:
        """Tell whether rules of the kernel hold an app by its user, and why not. Raises OSError if it needs them."""
        user = ownership.get("uid")
        if isolation.kind != "strict" or isolation.connects == "none" or user is None:
            return False, _NO_USER if ownership.get("no_user") else ""
        try:
            return self.admit(app, user, is_instance), ""
        except OSError as error:
            if isolation.by_user:
                raise
            return False, in_words(error)

    def _ownership(self, sight: Sight, app: str, directory: str, places: InstancePaths) -> dict[str, Any]:
        """Return which user something of an app gets, and what that user is given. Raises OSError."""
        no_user = "" if self._users is None else self._users.lacks()
        if self._users is None or no_user:
            return {"no_user": no_user}
        if self._users.known(app) is None and self.has_our_user(app):
            return {"no_user": _NOT_YET}
        try:
            user = self._users.of(app)
            shared = [
                f"{self._users.of_service(name, service)}:{self._paths.service(name, service)}"
                for kind, name, service in sight.services
                if kind == "sqlite"
            ]
        except NoUser as error:
            return {"no_user": str(error)}
        state = f"{self._paths.state}/"
        return {
            "uid": user,
            "gid": user,
            "mixed" if self.is_open(app) else "owned": (str(places.home), str(places.scratch)),
            "granted": (str(self._paths.builds(app) / sight.build), str(places.revisions / directory)),
            "opened": tuple(path for path in sight.readable if path.startswith(state) and Path(path).is_dir()),
            "shared": tuple(shared),
            "account": "" if set(str(places.home)) & set(":\n") else f"app-{app}:{places.home}",
        }

    def _mix(self, app: str, places: InstancePaths) -> None:
        """Note that something with the daemon's user may write in the home of an app that has had one of its own."""
        user = None if self._users is None else self._users.known(app)
        if user is not None:
            with suppress(OSError):
                if places.home.lstat().st_uid == user:
                    os.chmod(places.home, 0o700 | MIXED)  # noqa: PTH101  its directory is the daemon's alone

    def settle(self, app: str) -> None:
        """Give an app's user what was written in its home besides, once nothing without isolation runs of the app."""
        user = None if self._users is None or self._users.lacks() else self._users.known(app)
        if user is None or self.is_open(app):
            return
        for path in (self._paths.home(app), self._paths.scratch(app)):
            if _is_mixed(path, user):
                given = asyncio.get_running_loop().run_in_executor(None, partial(give_at, str(path), user, mixed=True))
                given.add_done_callback(partial(self._settled, app, path))

    def _settled(self, app: str, path: Path, given: "asyncio.Future[None]") -> None:
        """Note that all is the user's, unless something else writes by now; what failed is done at the next start."""
        if not given.cancelled() and given.exception() is None and not self.is_open(app):
            with suppress(OSError):
                path.chmod(0o700)  # its directory is the daemon's alone

    def _may_see(self, path: str) -> bool:
        """Whether a path is where the host's settings allow it: a link that an app has made there may lead anywhere."""
        found = os.path.realpath(path)
        return any(f"{found}/".startswith(f"{each}/") for each in self._mounts)


async def _at_once() -> None:
    pass


def _is_mixed(path: Path, user: int) -> bool:
    with suppress(OSError):
        found = path.lstat()
        return found.st_uid == user and bool(found.st_mode & MIXED)
    return False


def _of_the_system() -> tuple[str, ...]:
    from reconciler.isolation.fence import SYSTEM  # apps without isolation see all there is

    return *SYSTEM, *((_RESOLVER,) if Path(_RESOLVER).is_symlink() else ()), *_OF_THE_KERNEL


def confinements_of(settings: Settings) -> Confinements:
    """Return what isolated instances see on a host with these settings."""
    named = (settings.key, settings.file, None if settings.api is None else settings.api.token)
    passwords = (server.password_file for server in settings.servers.values())
    return Confinements(
        settings.paths,
        secrets=[path for path in (*named, *passwords) if path is not None],
        sockets=[(each.type, each.host) for each in settings.servers.values() if each.host.startswith("/")],
        ports=[
            (each.type, place[1]) for each in settings.servers.values() if (place := place_for_apps(each)) is not None
        ],
        required=settings.isolation_required,
        mounts=settings.isolation_mounts,
        users=AppUsers(settings.paths, settings.uids, settings.isolation_mounts),
        packages=package_places(settings, os.environ),
    )


def link_mounts(sight: Sight, places: InstancePaths) -> None:
    """Make the links in an app's home that lead to what it may see of the host; what is there stays."""
    for mount in sight.isolation.mounts:
        if mount.link:
            try:
                (places.home / mount.link).symlink_to(mount.path)
            except OSError:  # it is there, or the disk is full: the directory itself is seen all the same
                continue
