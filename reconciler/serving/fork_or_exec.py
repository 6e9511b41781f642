"""Start the process of an instance: forked from a fork server where one fits, executed otherwise.

Only this module knows of the two ways, and an instance cannot tell which it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.linux.processes import Command, Process, spawn
from reconciler.serving.forkserver.eligibility import NotForkable, kind
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.programs.program import Forkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A process that was started, and how, as the end of a sentence."""

    process: Process
    way: str


async def launch(
    command: Command, forkable: Forkable | None, fork_servers: ForkServerPool, ended: Callable[[], None]
) -> Launched:
    """Start a process as the leader of a session of its own. Raises OSError if the kernel refuses."""
    if forkable is None:
        return Launched(process=spawn(command, ended), way="by exec")
    try:
        process = await fork_servers.fork(kind(command, forkable), command, ended)
    except NotForkable as refusal:
        return Launched(process=spawn(command, ended), way=f"by exec, because {refusal}")
    return Launched(process=process, way="from a fork server")
