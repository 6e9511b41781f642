"""What to start in, a running instance out: forked from a warm template where one fits, executed otherwise.

Nobody else knows of the two ways, and an instance cannot tell which it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.linux.processes import Command, Process, spawn
from reconciler.planning.desired import Server
from reconciler.serving.forkserver.eligibility import NotForkable, kind
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.gunicorn import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A process on its way to serving, and how it was started, as the end of a sentence."""

    process: Process
    way: str


async def launch(
    command: Command, server: Server, code: Code, templates: ForkServerPool, ended: Callable[[], None]
) -> Launched:
    """Start an instance of `code` as the leader of a session of its own; raises OSError when the kernel refuses."""
    try:
        process = await templates.fork(kind(command, server, code), command, ended)
    except NotForkable as refusal:
        return Launched(process=spawn(command, ended), way=f"by exec, because {refusal}")
    return Launched(process=process, way="from a warm template")
