"""Run the release command of an app in its new build, before an instance of the build serves.

It runs at least once: a command that was killed together with the daemon is run again.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.planning.program_output import last_words
from reconciler.staging.command import Command, Confined, run
from reconciler.staging.detection.shown_text import shown
from reconciler.staging.errors import CommandFailed, StagingError, where_all_is
from reconciler.staging.log import CopiedLog, Log
from reconciler.staging.progress import Progress
from reconciler.vault.command_lines import redacted_command
from reconciler.vault.secret_patterns import secrets_in

_SHELL = "/bin/sh"
# Django's migrate writes OK behind each migration that was applied.
_APPLYING = re.compile(r"^ *Applying (?P<migration>\S+?)\.\.\.(?! OK)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCommand:
    """The release command of a manifest, with the directory and environment that an instance would have.

    What it prints is in the staging log, `log`, and in one of its own. `confined` is that of a `Command`.
    """

    app: str
    command: str
    directory: str
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    own_log: Path
    timeout_s: float
    confined: Confined | None = None


async def run_release(release: ReleaseCommand, progress: Progress, redact: Callable[[str], str]) -> None:
    """Run the command to its end; raises StagingError with its last output if it fails or takes too long.

    `redact` returns a line of its output without what the app was given.
    """
    command = Command(
        activity="running the release command",
        arguments=(_SHELL, "-c", release.command),
        directory=release.directory,
        environment=release.environment,
        shown=redacted_command(release.command),
        confined=release.confined,
    )
    secrets = secrets_in(release.environment)
    with Log(release.own_log) as own, CopiedLog(release.log, secrets, redact, copy=own) as log:
        try:
            async with asyncio.timeout(release.timeout_s):
                await run(command, log, progress)
        except CommandFailed as error:
            shown_command = redact(shown(command.shown)).replace("'", '"')
            raise StagingError(
                f"cannot release {release.app}: the release command '{shown_command}' failed ({error.status})"
                f"{_reason(error.output, release)}; {where_all_is(release.app)}"
            ) from error
        except TimeoutError as error:
            raise StagingError(
                f"cannot release {release.app}:"
                f" its release command took longer than {release.timeout_s:g} s (staging.timeout of the host's"
                f" settings) and was ended; {where_all_is(release.app)}"
            ) from error


def _reason(output: Sequence[str], release: ReleaseCommand) -> str:
    """Return why the command failed, and which migration it was applying, as far as its output tells."""
    applying = _APPLYING.findall("\n".join(output))
    said = last_words(output, release.directory)
    return f"{f' while applying {applying[-1]}' if applying else ''}{f': {said}' if said else ''}"
