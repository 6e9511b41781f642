"""What has to be done now and then while a daemon lives, and belongs to no single app."""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Callable

from reconciler.host.assembly import collect
from reconciler.linux.processes import Orphans
from reconciler.planning.subject import HOST
from reconciler.serving import logs
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.gunicorn import InstancePaths
from reconciler.serving.instances import Instances
from reconciler.settings.settings import Settings
from reconciler.staging.stager import Stager
from reconciler.state.journal import Journal

_ROTATE_EVERY_S = 30.0
_COLLECT_EVERY_S = 3600.0
_TEND_EVERY_S = 30.0
_BURY_AFTER_S = 5.0
_WRITE_EVERY_S = 5.0


class Housekeeping:
    """`places` says where an app's logs are, `forget_secrets` forgets those that nothing can need again."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        journal: Journal,
        *,
        stager: Stager,
        instances: Instances,
        templates: ForkServerPool,
        places: Callable[[str], InstancePaths],
        forget_secrets: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._stager = stager
        self._instances = instances
        self._templates = templates
        self._places = places
        self._forget_secrets = forget_secrets

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Do all of it from now on."""
        tasks.create_task(self._rotate_logs(), name="rotate logs")
        tasks.create_task(self._collect(), name="collect environments")
        tasks.create_task(self._tend(), name="tend templates")
        tasks.create_task(self._bury(), name="bury orphans")
        tasks.create_task(self._catch_up(), name="write what is owed")

    async def _rotate_logs(self) -> None:
        """Rename what grew too large and let its writers reopen it: SIGUSR1 is gunicorn's word for that."""
        while True:
            await asyncio.sleep(_ROTATE_EVERY_S)
            for name in self._instances.apps():
                places, rotated = self._places(name), False
                for log in (places.log, places.access_log):
                    with contextlib.suppress(OSError):  # where nothing can be renamed it grows on
                        rotated |= logs.rotate(log, self._settings.log_limit_bytes, self._settings.logs_kept)
                if rotated:
                    for _, process in self._instances.processes(name):
                        process.signal(signal.SIGUSR1)

    async def _collect(self) -> None:
        """Remove the secrets and the environments that nothing has needed for a long time."""
        while True:
            await asyncio.sleep(_COLLECT_EVERY_S)
            with contextlib.suppress(sqlite3.Error):
                self._forget_secrets()
            with contextlib.suppress(OSError):
                removed = await asyncio.to_thread(collect, self._settings, self._stager)
                if removed:
                    self._journal.write(HOST, "removed", f"environments that nothing needs: {', '.join(removed)}")

    async def _tend(self) -> None:
        """End templates nothing needs."""
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            with contextlib.suppress(OSError):
                self._templates.end_idle()
                self._instances.tend()

    async def _bury(self) -> None:
        """Reap what the kernel made ours, not long after it died: as pid 1 there may be much of it."""
        orphans, died = Orphans(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, died.set)
        while True:
            await died.wait()
            died.clear()
            await asyncio.sleep(_BURY_AFTER_S)
            with contextlib.suppress(OSError):
                if orphans.reap():
                    died.set()

    async def _catch_up(self) -> None:
        """Write what could not be written when it happened."""
        while True:
            await asyncio.sleep(_WRITE_EVERY_S)
            self._journal.catch_up()
