"""Start an instance confined: nothing of its app runs before it has proved, from inside, what it cannot do."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from reconciler.isolation.cells import CELL_VARIABLE
from reconciler.isolation.launching import Report, confined, held_back
from reconciler.isolation.main import given_back
from reconciler.linux.processes import KILLED, Command
from reconciler.linux.regular_files import UnfitFile
from reconciler.planning.isolation.confinement import Confinement, refusal
from reconciler.serving.confinements import Confinements, link_mounts
from reconciler.serving.fork_or_exec import Confined, Launched, launch
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program

_ENDS_IN_S = 1.0


def confinement_of(
    confinements: Confinements | None, program: Program, places: InstancePaths, live: LiveInstance
) -> Confinement | None:
    """Return what an instance of a program sees, None if it is not isolated. Raises CannotStart, OSError."""
    if confinements is None or program.sight is None:
        return None
    link_mounts(program.sight, places)
    try:
        return confinements.of(program, places, live.record.id, live.cell.entrances)
    except UnfitFile as error:
        raise CannotStart(str(error)) from error


async def launch_instance(
    command: Command,
    program: Program,
    confinement: Confinement | None,
    fork_servers: ForkServerPool,
    ended: Callable[[], None],
) -> tuple[Launched, Report | None]:
    """Start the process of an instance; return where it tells its proof, None if it is not isolated. Raises OSError.

    An isolated one is forked only if it becomes another user than the fork server has: what that one runs lies in the
    host's mounts, where its own user could change it.
    """
    if confinement is None:
        return await launch(command, program.forkable, fork_servers, ended), None
    report = Report.opened()
    try:
        alone = replace(command, env=_given_to({**confinement.as_variables(), **command.env}), report=report.writing)
        itself = Confined(command=_confining(alone, confinement), arguments=confinement.as_arguments())
        forkable = None if confinement.uid is None else program.forkable
        return await launch(alone, forkable, fork_servers, ended, itself), report
    except BaseException:
        report.close()
        raise


def _confining(command: Command, confinement: Confinement) -> Command:
    """Return a command as one that confines itself first."""
    at = None if command.beside is None else command.reports_at
    return replace(command, argv=confined(command.argv, confinement, at), env=held_back(command.env))


def _given_to(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables as a program gets them that has entered its cell before, ours last."""
    return given_back(held_back({name: value for name, value in env.items() if name != CELL_VARIABLE}))


async def proof_of_start(live: LiveInstance, confinement: Confinement, report: Report) -> str:
    """Wait until an instance has proved that it is confined, and return the proof as text. Raises CannotStart."""
    try:
        proof = await report.proof(confinement.isolation)
    except TimeoutError:
        raise CannotStart("it did not prove its isolation in time") from None
    finally:
        report.close()
    if proof is None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDS_IN_S):
                await live.ended()
        if live.end is not None and live.end.startswith(KILLED):
            raise CannotStart(f"it {live.end}")
        said = live.last_words()
        raise CannotStart(f"it cannot be isolated{said and f': {said}'}")
    refused = refusal(proof, confinement)
    if refused:
        raise CannotStart(refused)
    return str(proof)
