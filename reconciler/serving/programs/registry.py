"""The kinds of programs, by what a build says about how it is served, each with the function that builds it."""

from reconciler.planning.apps.revision import Revision
from reconciler.serving.programs.command import command_program
from reconciler.serving.programs.gunicorn import Code, InjectedEnv, InstancePaths, gunicorn_program
from reconciler.serving.programs.program import Program
from reconciler.serving.programs.without_web import no_program
from reconciler.serving.sandbox import Sandbox


def program_of(  # noqa: PLR0913, PLR0917  each is another part of what an instance is made of
    revision: Revision, code: Code, paths: InstancePaths, given: InjectedEnv, sandbox: Sandbox, workers: int
) -> Program:
    """Build the program of a revision that starts with so many workers. Raises CannotStart."""
    build = no_program if revision.address is None else command_program if code.command else gunicorn_program
    return build(revision, code, paths, given, sandbox, workers)
