"""Start an instance confined: nothing of its app runs before it has proved, from inside, what it cannot do."""

from collections.abc import Callable
from dataclasses import replace

from reconciler.isolation.cells import CELL_VARIABLE
from reconciler.isolation.launching import Report, confined, held_back
from reconciler.linux.processes import Command
from reconciler.linux.regular_files import UnfitFile
from reconciler.planning.isolation.confinement import Confinement, refusal
from reconciler.serving.confinements import Confinements, link_mounts
from reconciler.serving.fork_or_exec import Launched, launch
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program


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

    An isolated one is executed: what a fork server has imported is not proved.
    """
    if confinement is None:
        return await launch(command, program.forkable, fork_servers, ended), None
    report = Report.opened()
    try:
        return await launch(_confining(command, confinement, report), None, fork_servers, ended), report
    except BaseException:
        report.close()
        raise


def _confining(command: Command, confinement: Confinement, report: Report) -> Command:
    """Return a command as one that confines itself first."""
    env = {name: value for name, value in command.env.items() if name != CELL_VARIABLE}  # it enters its cell before
    at = None if command.beside is None else command.reports_at
    return replace(command, argv=confined(command.argv, confinement, at), env=held_back(env), report=report.writing)


async def proof_of_start(live: LiveInstance, confinement: Confinement, report: Report) -> str:
    """Wait until an instance has proved that it is confined, and return the proof as text. Raises CannotStart."""
    try:
        proof = await report.proof(confinement.isolation)
    except TimeoutError:
        raise CannotStart("it did not prove its isolation in time") from None
    finally:
        report.close()
    if proof is None:
        said = live.last_words()
        raise CannotStart(f"it cannot be isolated{said and f': {said}'}")
    refused = refusal(proof, confinement.required)
    if refused:
        raise CannotStart(refused)
    return str(proof)
