"""The stager that a host's settings ask for, and what staging leaves behind that nothing needs."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import uv

from reconciler.settings import Settings
from reconciler.staging.stager import Stager
from reconciler.staging.surroundings import MEMORY


def stager_of(settings: Settings) -> Stager:
    """The stager of this host."""
    layout = settings.layout
    return Stager(
        builds=layout.builds,
        environments=layout.environments,
        cache=layout.cache,
        interpreters=settings.interpreters,
        timeout_s=settings.staging_timeout_s,
        slots=asyncio.Semaphore(settings.staging_slots),
        uv=os.fsdecode(uv.find_uv_bin()),
        environ=lambda: package_environ(settings, os.environ),
    )


def package_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that say where packages come from and what installing may take: `environ`, and what settings add.

    Files are read each time, so that a changed password holds at once; one that cannot be read is left out.
    """
    found = {**environ, MEMORY: str(settings.staging_memory_bytes)}
    for name, value in settings.staging_env.items():
        with contextlib.suppress(OSError, ValueError):
            found[name] = value.read_text(encoding="utf-8").rstrip("\n") if isinstance(value, Path) else value
    return found


def collect(settings: Settings, stager: Stager) -> tuple[str, ...]:
    """Remove every environment that no build refers to and whose retention is over; returns their keys. Blocks."""
    apps = settings.layout.apps
    names = [entry.name for entry in apps.iterdir()] if apps.is_dir() else []
    return stager.collect(names, settings.retention_s)
