"""Build the stager from the settings of this host, and the variables that say where packages come from."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.convergence.slots import Slots
from reconciler.linux.files import is_leftover, leftovers, remove
from reconciler.settings.settings import Settings
from reconciler.state.paths import OWN_CACHE
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret_reader import SecretReader

if TYPE_CHECKING:  # `validate` needs nothing of staging
    from reconciler.staging.stager import Stager


def stager_of(settings: Settings) -> "Stager":
    """Build the stager of this host."""
    from reconciler.staging.stager import Stager

    paths = settings.paths
    return Stager(
        builds=paths.builds,
        environments=paths.environments,
        cache=paths.cache,
        interpreters=settings.interpreters,
        timeout_s=settings.staging_timeout_s,
        slots=Slots.patient(settings.staging_slots, settings.staging_slot_s),
        uv=uv_program(),
        environ=package_environments(settings, dict(os.environ)),  # hundreds of apps that wait share it
    )


def uv_program() -> str:
    """Return the path of the uv of our environment.

    Its package finds the same one, and loads how our Python was built, which an idle daemon would keep.
    """
    own = Path(sys.prefix) / "bin" / "uv"
    if sys.prefix != sys.base_prefix and own.is_file():
        return str(own)
    import uv

    return os.fsdecode(uv.find_uv_bin())


def package_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say where packages come from and what installing may use: `environ`, and the settings'.

    Files are read each time, so that a changed password applies at once; one that cannot be read is left out.
    """
    from reconciler.staging.environments.installer_env import MEMORY, SECRETS, VARIABLES

    given, reader = settings.staging_env, SecretReader(settings, may_wait=False, of_host=True)
    found = {
        **environ,
        MEMORY: str(settings.staging_memory_bytes),
        VARIABLES: " ".join(given),
        SECRETS: " ".join(name for name, value in given.items() if isinstance(value, Path)),
    }
    for name, value in given.items():
        with contextlib.suppress(Unusable):
            found[name] = reader.text_of(value).rstrip("\r\n") if isinstance(value, Path) else value
    return found


def package_environments(settings: Settings, environ: Mapping[str, str]) -> Callable[[], Mapping[str, str]]:
    """Return a function that returns `package_environ` as of now: the same object, unless a file has to be read."""
    read = partial(package_environ, settings, environ)
    return read if any(isinstance(value, Path) for value in settings.staging_env.values()) else cache(read)


def collect(settings: Settings, stager: "Stager") -> tuple[str, ...]:
    """Remove every environment that no build refers to and whose retention is over; returns their keys. Blocks."""
    return stager.collect(_apps(settings), settings.retention_s)


def remove_own_caches(settings: Settings) -> tuple[str, ...]:
    """Remove what the builds of isolated apps have fetched and made, and return their names. Blocks.

    One of an app that is being staged stays.
    """
    removed = []
    for name in _apps(settings):
        builds, cache = settings.paths.builds(name), settings.paths.build_cell(name) / OWN_CACHE
        if cache.exists() and not (builds.is_dir() and any(leftovers(builds))):
            remove(cache)
            removed.append(name)
    return tuple(removed)


def _apps(settings: Settings) -> list[str]:
    apps = settings.paths.apps
    return sorted(each.name for each in apps.iterdir() if not is_leftover(each.name)) if apps.is_dir() else []
