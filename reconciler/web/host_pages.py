"""The pages about the host itself."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.inspection.settings_in_force import settings_in_force
from reconciler.linux.dataclass import dataclass
from reconciler.linux.host_memory import host_memory
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.facts_process import facts_or_why
from reconciler.web.rendering import Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A file system by what is kept on it: bytes in all, and those that may still be written."""

    what: str
    total: int
    free: int


class HostPages:
    """The pages about one host."""

    def __init__(self, context: WebContext, templates: Templates) -> None:
        self._context = context
        self._templates = templates

    def routes(self) -> list[Route]:
        """Return the route of every page."""
        authenticated = self._context.authenticated
        return [
            Route("/host", authenticated(self.host), methods=["GET"]),
            Route("/host/checks", authenticated(self.checks), methods=["GET"]),
        ]

    async def host(self, _: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        settings = self._context.settings

        def rendered() -> Response:
            return self._templates.page(
                "host.html",
                caller,
                status=status,
                load=os.getloadavg(),
                cores=os.cpu_count(),
                memory=[known or 0 for known in host_memory()],
                up_s=time.clock_gettime(time.CLOCK_BOOTTIME),
                disks=_disks({"state": settings.paths.state, "manifests": settings.manifests}),
                settings=settings,
                in_force=list(settings_in_force(settings)),
            )

        return await asyncio.to_thread(rendered)

    async def checks(self, request: Request, caller: Caller) -> Response:
        """Show what `doctor` finds; another process looks, and stops when the client disconnects."""
        status = await self._context.status_cache.now()
        found, failure = await facts_or_why(request, self._context.settings, "checks")
        worst_first = sorted(found.get("checks", ()), key=lambda check: ("fail", "warn", "ok").index(check["level"]))
        return self._templates.page("checks.html", caller, status=status, checks=worst_first, failure=failure)


def _disks(directories: Mapping[str, Path]) -> list[Disk]:
    """Return the disks that hold some directories, each once, without those that cannot be read."""
    by_device: dict[int, list[str]] = {}
    for what, directory in directories.items():
        with contextlib.suppress(OSError):
            by_device.setdefault(directory.stat().st_dev, []).append(what)
    return [disk for names in by_device.values() for disk in _disk(" and ".join(names), directories[names[0]])]


def _disk(what: str, directory: Path) -> Iterator[Disk]:
    with contextlib.suppress(OSError):
        found = os.statvfs(directory)
        yield Disk(what=what, total=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)
