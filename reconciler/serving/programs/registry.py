"""The kinds of programs by what a revision says about its server, each with the function that builds it."""

from collections.abc import Callable, Mapping

from reconciler.planning.apps.revision import Revision, Server
from reconciler.serving.programs.gunicorn import Code, InjectedEnv, InstancePaths, gunicorn_program
from reconciler.serving.programs.program import Program
from reconciler.serving.sandbox import Sandbox

_BUILDERS: Mapping[type, Callable[[Revision, Code, InstancePaths, InjectedEnv, Sandbox, int], Program]] = {
    Server: gunicorn_program,
}


def program_of(  # noqa: PLR0913, PLR0917  each is another part of what an instance is made of
    revision: Revision, code: Code, paths: InstancePaths, given: InjectedEnv, sandbox: Sandbox, workers: int
) -> Program:
    """Build the program of a revision that starts with so many workers."""
    return _BUILDERS[type(revision.server)](revision, code, paths, given, sandbox, workers)
