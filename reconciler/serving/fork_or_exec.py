"""Start the process of an instance: forked from a fork server where one fits, executed otherwise.

Only this module knows of the two ways, and an instance cannot tell which it was.
"""

from collections.abc import Callable, Sequence

from reconciler.linux.dataclass import dataclass
from reconciler.linux.processes import Command, Process, spawn
from reconciler.serving.forkserver.eligibility import NotForkable, kind
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.programs.program import Forkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A process that was started, and how, as the end of a sentence.

    `inside` says whether it began in the control group of its command.
    """

    process: Process
    way: str
    inside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """A command that confines itself as it is executed, and by which arguments it does so if it is forked."""

    command: Command
    arguments: Sequence[str]


async def launch(
    command: Command,
    forkable: Forkable | None,
    fork_servers: ForkServerPool,
    ended: Callable[[], None],
    confined: Confined | None = None,
) -> Launched:
    """Start a process as the leader of a session of its own, `confined` if it is to be.

    Raises OSError if the kernel refuses.
    """
    executed = command if confined is None else confined.command
    if forkable is None:
        return Launched(process=spawn(executed, ended), way="by exec")
    try:
        found = kind(command, forkable, isolated=confined is not None)
        forked = await fork_servers.fork(found, command, ended, () if confined is None else confined.arguments)
    except NotForkable as refusal:
        return Launched(process=spawn(executed, ended), way=f"by exec, because {refusal}")
    return Launched(process=forked.process, way="from a fork server", inside=forked.inside)
