"""Store of environments: each is created once per key, shared by all apps that need it, and never changed.

A virtual environment contains its own path, so it is created where it stays: `<key>/` counts only once it contains
`finished.json`, which is written last. A directory without that file is left over from a kill, and removed by the
holder of `<key>.lock`. Installers inherit that lock, so it is held until the last of them has ended. Syncing the files
would take longer than installing them: an environment of an earlier boot counts once all its files were verified.
"""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.convergence.slots import Slots
from reconciler.linux.file_lock import locked, try_lock
from reconciler.linux.files import leftovers, remove
from reconciler.linux.regular_files import read_record
from reconciler.staging.concurrency import SingleFlight, in_thread
from reconciler.staging.detection.digest_names import ITSELF
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments import integrity
from reconciler.staging.environments.environment import RECORD, Environment, EnvironmentRequest
from reconciler.staging.errors import StagingError
from reconciler.staging.progress import ENVIRONMENT_OF_ANOTHER, Phase
from reconciler.staging.slots import slot_of

if TYPE_CHECKING:  # a daemon whose environments all exist creates none
    from reconciler.staging.build_cell import BuildCell
    from reconciler.staging.environments.creation import Creation

# Verifying tens of thousands of files takes a quarter of a second: it is not repeated for each edit, nor for each of
# many apps that are staged at once.
_VERIFIED_FOR_S = 300.0
_SUSPECTED_AGAIN_S = 30.0
_OWN_CODE_KEPT_S = 600.0
_MOST_OF_A_RECORD = 1 << 20


class Environments:
    """The store: one directory per key in `directory`, packages copied from `cache` on the same file system."""

    def __init__(  # noqa: PLR0913 -- collaborators, each named
        self,
        *,
        directory: Path,
        cache: Path,
        uv: str,
        slots: Slots,
        timeout_s: float,
        boot: str,
    ) -> None:
        self._directory = directory
        self._cache = cache
        self._uv = uv
        self._slots = slots
        self._timeout_s = timeout_s
        self._building: SingleFlight[str, Environment] = SingleFlight()
        self._verified_at: dict[str, float] = {}
        self._boot = boot
        self._survived_boot: dict[str, bool] = {}
        self._suspected_at: dict[str, float] = {}
        self._damaged: set[str] = set()
        self._uncompiled: asyncio.Queue[tuple[Path, BuildCell | None]] = asyncio.Queue()

    async def obtain(self, request: EnvironmentRequest, runtimes: tuple[Runtime, ...]) -> Environment:
        """Return the requested environment, from the store or created now; raises StagingError.

        One of `runtimes` runs the tools that some lock files need.
        """
        key = request.ingredients.key
        self._touch(key)
        finished = self.finished(key)
        if finished is not None and (self._was_just_verified(key) or await in_thread(lambda _: self._is_intact(key))):
            request.log.step(f"environment {key}: reused")
            return replace(finished, because=_why_reused(request), reused=True)
        if self._building.in_flight(key):
            request.log.step(f"environment {key}: waiting for another app that is creating it")
            request.progress(ENVIRONMENT_OF_ANOTHER)
            made = await self._building.result(key, lambda: self._build(key, request, runtimes))
            return replace(made, because="shared with another app that created it", reused=False)
        return await self._building.result(key, lambda: self._build(key, request, runtimes))

    async def verify(self, key: str) -> tuple[str, ...]:
        """Compare a finished environment with what was installed; returns the damaged files, () if it was just done.

        A damaged one no longer counts as finished: the next app that needs it has it created again.
        """
        if time.monotonic() - self._suspected_at.get(key, float("-inf")) < _SUSPECTED_AGAIN_S:
            return ()
        self._suspected_at[key] = time.monotonic()
        damage = await in_thread(lambda _: integrity.damaged(self._directory / key))
        if damage:
            self._damaged.add(key)
            self._verified_at.pop(key, None)
        return damage

    def finished(self, key: str) -> Environment | None:
        """Return the environment of that key if it is finished and still exists, as far as a few stats can tell."""
        if key in self._damaged:
            return None
        directory = self._directory / key
        try:
            record = read_record(directory / RECORD, _MOST_OF_A_RECORD)
            environment = Environment(**record["environment"])
            os.stat(environment.python)  # noqa: PTH116 -- follows links: the interpreter itself may be gone
            exists = (directory / record["site"] / "gunicorn" / "__init__.py").stat().st_size > 0
            exists = exists and (record["boot"] == self._boot or self._survived(key))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return environment if exists and environment.directory == str(directory) else None

    async def compile_ahead(self) -> None:
        """Write the bytecode of new environments at the lowest priority, until cancelled.

        Python would do so as well, module by module, when an app first imports them.
        """
        while True:
            directory, cell = await self._uncompiled.get()
            from reconciler.staging.environments.creation import compile_bytecode  # loaded by what created it

            # Packages may contain files for other Pythons, which cannot be compiled, and `gc` may remove all of it.
            with suppress(StagingError, OSError):
                await compile_bytecode(directory, cell)

    def facts(self, directory: str) -> dict[str, str]:
        """Return what the environment in `directory` was made from; empty if its record cannot be read."""
        try:
            facts = read_record(f"{directory}/{RECORD}", _MOST_OF_A_RECORD)["facts"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def collect(self, in_use: frozenset[str], retention_s: float) -> tuple[str, ...]:
        """Remove the environments that are not `in_use` and were last requested `retention_s` ago; returns their keys.

        An environment that is being created or requested is locked, and stays. Blocks.
        """
        removed = []
        if not self._directory.is_dir():
            return ()
        for key in sorted({path.stem for path in self._directory.iterdir() if not path.name.startswith(".")}):
            age_s, kept_s = self._age_s(key), min(retention_s, self._longest_kept_s(key))
            lock = try_lock(self._directory / f"{key}.lock") if key not in in_use and age_s >= kept_s else None
            if lock is None:
                continue
            try:
                remove(self._directory / key)
                (self._directory / f"{key}.lock").unlink()
                removed.append(key)
            finally:
                os.close(lock)
        for leftover in leftovers(self._directory):
            remove(leftover)
        return tuple(removed)

    def _longest_kept_s(self, key: str) -> float:
        """Return how long an environment may be of use: one with an app's own code only to a build of that code."""
        return _OWN_CODE_KEPT_S if ITSELF in self.facts(str(self._directory / key)) else float("inf")

    def _age_s(self, key: str) -> float:
        """Return how long ago the key was last requested."""
        stamps = []
        for path in (self._directory / f"{key}.lock", self._directory / key / RECORD):
            with suppress(OSError):
                stamps.append(path.stat().st_mtime)
        return time.time() - max(stamps, default=0.0)  # noqa: TID251  # file systems tell the time of day

    def _touch(self, key: str) -> None:
        """Record that the key was requested, in the time of change of its lock."""
        with suppress(OSError):
            os.utime(self._directory / f"{key}.lock")

    def _survived(self, key: str) -> bool:
        """Tell whether an environment of an earlier boot is undamaged; verified once."""
        if key not in self._survived_boot:
            self._survived_boot[key] = not integrity.damaged(self._directory / key)
        return self._survived_boot[key]

    def _was_just_verified(self, key: str) -> bool:
        return time.monotonic() - self._verified_at.get(key, float("-inf")) < _VERIFIED_FOR_S

    def _is_intact(self, key: str) -> bool:
        """Tell whether a finished environment is undamaged, and verify it no more for a while. Blocks."""
        if integrity.damaged(self._directory / key):
            return False
        self._verified_at[key] = time.monotonic()
        return True

    async def _build(self, key: str, request: EnvironmentRequest, runtimes: tuple[Runtime, ...]) -> Environment:
        directory = self._directory / key
        waiting = Phase(activity="waiting for an installer of another process", waits=True)
        async with (
            # Before the slot, which is for those who work: the holder may be another process, and take its time.
            locked(self._directory / f"{key}.lock", lambda: request.progress(waiting)) as lock,
            slot_of(self._slots.apart, request.app, request.progress),  # it may run what packages bring
            asyncio.timeout(self._timeout_s),
        ):
            finished = self.finished(key)
            recorded = (directory / RECORD).is_file()
            damage = await in_thread(lambda _: integrity.damaged(directory)) if recorded else ()
            if finished is not None and not damage:
                request.log.step(f"environment {key}: another process created it")
                return replace(finished, because="created by another process", reused=False)
            creation = await in_thread(lambda _: self._creation(runtimes))
            made = await creation.create(request, damage, lock)
            self._verified_at[key] = time.monotonic()
            self._damaged.discard(key)
            self._uncompiled.put_nowait((directory, request.cell))
            return made

    def _creation(self, runtimes: tuple[Runtime, ...]) -> "Creation":
        """Return what creates environments, which takes a while to import the first time. Blocks."""
        from reconciler.staging.environments.creation import Creation

        return Creation(store=self._directory, cache=self._cache, uv=self._uv, boot=self._boot, runtimes=runtimes)


def _why_reused(request: EnvironmentRequest) -> str:
    if not request.previous:
        return "reused, another app has the same requirements"
    changed = request.previous != request.ingredients.facts
    return "reused, it is in the store already" if changed else "reused, its requirements did not change"
