"""Stand for the web server of an app that has none: its revision is in force, and no program of its own runs."""

from reconciler.planning.apps.revision import Revision
from reconciler.serving.programs.gunicorn import Code, InjectedEnv, InstancePaths, revision_directory
from reconciler.serving.programs.program import Program, WorkersReady
from reconciler.serving.sandbox import Sandbox


def no_program(  # noqa: PLR0913, PLR0917  as the programs that there are
    revision: Revision, code: Code, paths: InstancePaths, given: InjectedEnv, sandbox: Sandbox, workers: int
) -> Program:
    """Return a program without a command line, which is never executed."""
    del given
    revision_directory(revision, code, paths, sandbox)
    return Program(
        name="",
        app=revision.app,
        revision=revision.id,
        build=revision.build.id,
        argv=(),
        environment=lambda _: {},
        readiness=WorkersReady(workers=workers),
        directory=revision.id,
        start_timeout_s=revision.server.start_timeout_s,
        stop_timeout_s=revision.server.stop_timeout_s,
    )
