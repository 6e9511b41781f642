"""Stage builds, find them again, and remove them: the code and environment of an app, in a directory with a record.

A finished build is complete and never made again. What makes one is imported with the first.
"""

import asyncio
import functools
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.convergence.slots import Slots
from reconciler.linux.error_words import with_file
from reconciler.planning.apps.code_commands import CodeCommands
from reconciler.planning.apps.revision import Build
from reconciler.planning.isolation.remedies import remedy_of_build
from reconciler.staging import staged
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.interpreters import Interpreters
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.entrance import Entrance
from reconciler.staging.environments.identity import installer
from reconciler.staging.environments.installer_env import secrets_of
from reconciler.staging.environments.store import Environments
from reconciler.staging.errors import CommandFailed, SourceChanged, StagingError, where_all_is
from reconciler.staging.log import Log
from reconciler.staging.progress import Progress
from reconciler.staging.staged import Staged
from reconciler.staging.written_files import WrittenFiles, keep_written, mark_served, written_files

if TYPE_CHECKING:  # a daemon that only adopts makes no build
    from reconciler.staging.build_cell import BuildCell
    from reconciler.staging.making import Maker

__all__ = ["SourceChanged", "Staged", "Stager", "StagingError"]

# So many times as many apps are half staged at once as are worked on: those that wait for slots go on at once.
_BEGUN = 4
_BEGUN_S = 2.0  # what takes longer is no longer waited for: an app may hang as long as it likes


class Stager:
    """Makes builds. `builds` returns the directory of an app's builds; all paths are on one file system.

    `interpreters` are programs or directories from the host's settings. `slots` bounds how many apps are staged at
    once; copying and installing may take `timeout_s` each, not counting the wait for a slot. `environ` returns the
    variables that say where packages come from. An app is staged by one task at a time,
    which waits at the `entrance` first.
    """

    def __init__(  # noqa: PLR0913 -- collaborators, each named
        self,
        *,
        builds: Callable[[str], Path],
        environments: Path,
        cache: Path,
        interpreters: Sequence[str],
        timeout_s: float,
        slots: Slots,
        uv: str,
        environ: Callable[[], Mapping[str, str]],
    ) -> None:
        self._environ = environ
        self._builds = builds
        self._interpreters = Interpreters(interpreters)
        self._boot = staged.boot_id()
        self._environments = Environments(
            directory=environments, cache=cache, uv=uv, slots=slots, timeout_s=timeout_s, boot=self._boot
        )
        self._timeout_s = timeout_s
        self._slots = slots
        self._uv = uv
        self._maker: Maker | None = None
        self._loaded: dict[Path, tuple[tuple[int, int], Staged | None]] = {}

    @functools.cached_property
    def entrance(self) -> Entrance:
        """Where apps wait until so few others are half staged that they may be."""
        return Entrance(self._slots.times(_BEGUN, _BEGUN_S))

    async def stage(  # noqa: PLR0913  each is another part of what is made
        self, app: str, build: Build, log: Path, progress: Progress, *, kept: Path, cell: "BuildCell | None" = None
    ) -> Staged:
        """Return the finished build, made now unless it exists already; raises StagingError or SourceChanged.

        `progress` gets the phase, once a second; `log` is appended to. What the recipe persists is below `kept`. Code
        of an isolated app's packages runs in its `cell`.
        """
        finished = self.finished(app, build.id)
        if finished is not None:
            return finished
        with (
            _error_context(app, self._timeout_s, isolated=cell is not None),
            Log(log, secrets_of(self._environ())) as lines,
        ):
            loop = asyncio.get_running_loop()
            began = loop.time()
            lines.step(f"staging build {build.id} of {app} from {build.source.path}")
            try:
                maker = self._maker
                if maker is None:
                    another = await in_thread(lambda _: self._made_maker())
                    self._maker = maker = self._maker or another  # of several made at once all share the first
                made = await maker.make(app, build, lines, progress, kept=kept, cell=cell)
            except BaseException as error:
                why = str(error) or ("cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__)
                lines.step(f"build {build.id} failed: {why}")
                raise
            lines.step(f"build {build.id} finished in {loop.time() - began:.3f} s")
            return made

    def finished(self, app: str, build_id: str) -> Staged | None:
        """Return the build if it is finished and its environment exists. A few file reads."""
        directory = self._builds(app) / build_id
        try:
            stat = (directory / staged.RECORD).stat()
        except OSError:
            self._loaded.pop(directory, None)
            return None
        stamp, found = self._loaded.get(directory, (None, None))
        if stamp != (stat.st_mtime_ns, stat.st_ino):
            found = staged.read(directory, self._boot)
            self._loaded[directory] = (stat.st_mtime_ns, stat.st_ino), found
        if found is None or not found.environment:
            return found  # a program that is not Python's has none
        return None if self._environments.finished(Path(found.environment).name) is None else found

    async def is_damaged(self, app: str, build_id: str) -> bool:
        """Compare the environment of a finished build with what was installed; a damaged one is created again."""
        found = self.finished(app, build_id)
        return (
            found is not None
            and bool(found.environment)
            and bool(await self._environments.verify(Path(found.environment).name))
        )

    def build_ids(self, app: str) -> tuple[str, ...]:
        """Return the ids of the builds on disk, oldest first; `finished` tells whether one is still usable."""
        return staged.build_ids(self._builds(app))

    def commands(self, app: str, build_ids: Iterable[str]) -> dict[str, CodeCommands]:
        """Return the commands that the code of these builds asks for, of those that ask for any."""
        found = ((build_id, staged.commands_of(self._builds(app) / build_id)) for build_id in build_ids)
        return {build_id: commands for build_id, commands in found if commands}

    async def warm_up(self) -> None:
        """Discover the interpreters and the installer's version ahead of the first build."""
        await self._interpreters.known()
        await in_thread(lambda _: installer(self._uv))

    def collect(self, apps: Iterable[str], retention_s: float) -> tuple[str, ...]:
        """Remove the environments that no build of these apps uses and none requested in `retention_s`. Blocks."""
        found = (staged.read(record.parent, self._boot) for app in apps for record in staged.records(self._builds(app)))
        in_use = frozenset(Path(each.environment).name for each in found if each is not None and each.environment)
        return self._environments.collect(in_use, retention_s)

    async def compile_ahead(self) -> None:
        """Write the bytecode of new environments at the lowest priority, until cancelled."""
        await self._environments.compile_ahead()

    def mark_served(self, app: str, build_id: str) -> None:
        """Record that the build serves: what is written into it from now on is the app's own data. Raises OSError."""
        mark_served(self._builds(app) / build_id)

    def written(self, app: str, build_id: str) -> WrittenFiles:
        """Return the files that the app has written into the build since it served. Blocks."""
        return written_files(self._builds(app) / build_id)

    def keep_written(self, app: str, build_id: str, kept: Path) -> tuple[str, ...]:
        """Move what the app has written into the build below `kept`, and return it. Raises OSError; blocks."""
        return keep_written(self._builds(app) / build_id, kept)

    def discard(self, app: str, build_id: str) -> Path:
        """Forget a build, finished or not, and return its directory, which is to be removed."""
        directory = self._builds(app) / build_id
        self._loaded.pop(directory, None)
        return directory

    async def runtimes(self) -> tuple[Runtime, ...]:
        """Return every interpreter of this host."""
        return await self._interpreters.known()

    def _made_maker(self) -> "Maker":
        """Return what makes builds, which takes a while to import the first time. Blocks."""
        from reconciler.staging.making import Maker

        return Maker(
            builds=self._builds,
            environments=self._environments,
            interpreters=self._interpreters,
            timeout_s=self._timeout_s,
            slots=self._slots,
            uv=self._uv,
            environ=self._environ,
            boot=self._boot,
        )


@contextmanager
def _error_context(app: str, timeout_s: float, *, isolated: bool) -> Iterator[None]:
    """Add the app's name to every error of staging."""
    try:
        yield
    except CommandFailed as error:
        helps = remedy_of_build(str(error)) if isolated else ""
        said = "; ".join(filter(None, (str(error), helps, where_all_is(app))))
        raise CommandFailed(f"cannot stage {app}: {said}") from error
    except StagingError as error:
        raise type(error)(f"cannot stage {app}: {error}") from error
    except TimeoutError as error:
        limit = f"{timeout_s:g} s (staging.timeout of the host's settings)"
        why = f"cannot stage {app}: it took longer than {limit} and was ended; {where_all_is(app)}"
        raise StagingError(why, retry="later") from error
    except ImportError as error:
        raise StagingError(
            f"cannot stage {app}: {error}; if another version was installed meanwhile, restart the daemon"
        ) from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise StagingError(f"cannot stage {app}: a path or a command in its files has a NUL byte") from error
    except RecursionError as error:
        raise StagingError(f"cannot stage {app}: a file of its source is nested too deeply") from error
    except OSError as error:
        raise StagingError(f"cannot stage {app}: {with_file(error)}", retry="soon") from error
    except subprocess.SubprocessError as error:
        raise StagingError(f"cannot stage {app}: {error}", retry="soon") from error
