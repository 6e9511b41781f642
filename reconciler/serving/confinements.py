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
from typing import Any

from reconciler.isolation.app_users import AppUsers, NoUser, app_users
from reconciler.isolation.cells import CELL_VARIABLE
from reconciler.isolation.giving import MIXED, give_at
from reconciler.isolation.launching import confined, held_back
from reconciler.isolation.main import NO_REPORT
from reconciler.linux.error_words import in_words
from reconciler.planning.apps.revision import Revision
from reconciler.planning.isolation.confinement import (
    NOT_YET,
    Confinement,
    Isolated,
    Part,
    held_to,
    needs_network_part,
)
from reconciler.serving.build_confinements import BuildConfinements
from reconciler.serving.host_sight import HostSight, of_the_system
from reconciler.serving.programs.gunicorn import Code, InstancePaths
from reconciler.serving.programs.program import Program, Sight
from reconciler.serving.programs.sight import sight_of
from reconciler.settings.package_places import package_places
from reconciler.settings.server_places import place_for_apps
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

_NO_USER = "rules of the kernel know an app by a user of its own, which it lacks"


class Confinements:
    """The confinement of each instance on this host, and of what `builds` it.

    They see what the `host` lets them, and `sockets` and `ports` of servers by their type.
    `users` are those of apps; while something isolated of one runs as the daemon's user, as `has_our_user` tells, it
    gets none. While one without isolation runs, as `is_open` tells, what it writes is given to the user once it has
    ended. `admit` is told of each app before something of it starts, with its user and whether that is an instance, and
    says whether rules of the kernel hold it to where it may connect; it may raise OSError. Names in lists are
    `looked_up` before that.
    """

    def __init__(  # noqa: PLR0913  each is another part of what apps may see
        self,
        paths: StatePaths,
        host: HostSight,
        builds: BuildConfinements,
        *,
        sockets: Sequence[tuple[str, str]] = (),
        ports: Sequence[tuple[str, int]] = (),
        users: AppUsers | None = None,
    ) -> None:
        self.has_our_user: Callable[[str], bool] = lambda _: False
        self.is_open: Callable[[str], bool] = lambda _: False
        self.admit: Callable[[str, int, bool], bool] = lambda _, __, ___: False
        self.looked_up: Callable[[], Awaitable[None]] = _at_once
        self.builds = builds
        self._paths = paths
        self._host = host
        self._users = users
        self._sockets = sockets
        self._ports = ports

    @property
    def required(self) -> tuple[Part, ...]:
        """The parts without which nothing starts."""
        return self._host.required

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

    def _seen(
        self, sight: Sight, app: str, directory: str, places: InstancePaths, *, is_instance: bool = False
    ) -> Confinement:
        """Return what anything of an app sees."""
        build = str(self._paths.builds(app) / sight.build)
        mounts = self._host.allowed(sight.isolation.mounts)
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
                *(of_the_system() if strict else ()),
                *sight.readable,
                build,
                str(places.revisions / directory),
                *(socket for kind, socket in self._sockets if kind in types),
                *(mount.path for mount in mounts if not mount.write),
            ),
            writable=(*map(str, own), *(mount.path for mount in mounts if mount.write)),
            hidden=self._host.hidden(),
            # A user alone reads what the host lets all users read, such as settings.
            shut=(*self._host.shut, *(self._host.secrets if strict else ())),
            alone=self._host.alone,
            fixed=(build, *sight.readable),
            daemon=os.getpid(),
            listens="all" if sight.opens else "none",
            required=tuple(dict.fromkeys((*self._host.required, *network))),
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
            return {"no_user": NOT_YET}
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


async def _at_once() -> None:
    pass


def _is_mixed(path: Path, user: int) -> bool:
    with suppress(OSError):
        found = path.lstat()
        return found.st_uid == user and bool(found.st_mode & MIXED)
    return False


def confinements_of(settings: Settings) -> Confinements:
    """Return what isolated instances see on a host with these settings."""
    named = (settings.key, settings.file, None if settings.api is None else settings.api.token)
    passwords = (server.password_file for server in settings.servers.values())
    host = HostSight(
        settings.paths,
        secrets=[path for path in (*named, *passwords) if path is not None],
        mounts=settings.isolation_mounts,
        required=settings.isolation_required,
    )
    users = AppUsers(settings.paths, settings.uids, settings.isolation_mounts)
    return Confinements(
        settings.paths,
        host,
        BuildConfinements(host, users=users, packages=package_places(settings, os.environ)),
        sockets=[(each.type, each.host) for each in settings.servers.values() if each.host.startswith("/")],
        ports=[
            (each.type, place[1]) for each in settings.servers.values() if (place := place_for_apps(each)) is not None
        ],
        users=users,
    )


def link_mounts(sight: Sight, places: InstancePaths) -> None:
    """Make the links in an app's home that lead to what it may see of the host; what is there stays."""
    for mount in sight.isolation.mounts:
        if mount.link:
            try:
                (places.home / mount.link).symlink_to(mount.path)
            except OSError:  # it is there, or the disk is full: the directory itself is seen all the same
                continue
