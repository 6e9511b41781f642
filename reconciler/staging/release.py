"""A release command and what it runs in, in; its success, its output in the staging log, out.

It runs before anything serves the build, and at least once: killed with the daemon half-way, it is run again.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.staging.command import Command, run
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log
from reconciler.vault.secret_patterns import secrets_in

_SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCommand:
    """The command of an app, as its manifest writes it, and the directory and environment an instance would have."""

    app: str
    command: str
    directory: str
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    timeout_s: float


async def run_release(order: ReleaseCommand, progress: Callable[[str], None]) -> None:
    """Run the command to its end; StagingError with its own last words when it fails or takes too long."""
    command = Command(
        doing="running the release command",
        arguments=(_SHELL, "-c", order.command),
        directory=order.directory,
        environment=order.environment,
    )
    with Log(order.log, secrets_in(order.environment)) as log:
        try:
            async with asyncio.timeout(order.timeout_s):
                await run(command, log, progress)
        except StagingError as error:
            why = str(error).removeprefix("sh: ")
            raise StagingError(f"cannot release {order.app}: its release command failed: {why}") from error
        except TimeoutError as error:
            raise StagingError(
                f"cannot release {order.app}: its release command took longer than {order.timeout_s:g} s and was ended"
            ) from error
