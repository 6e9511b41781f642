"""Build the program that serves a staged revision by a command of its own, behind a forwarder at the app's listener."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.package_files import package_directory
from reconciler.planning.address import Address
from reconciler.planning.apps.code_commands import Listen
from reconciler.planning.apps.gunicorn_fields import fields_of_gunicorn, why_unfit
from reconciler.planning.apps.revision import Revision
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.programs.gunicorn import (
    Code,
    InjectedEnv,
    InstancePaths,
    environment,
    health_host,
    revision_directory,
)
from reconciler.serving.programs.program import Program, WorkersReady
from reconciler.serving.programs.sight import sight_of
from reconciler.serving.sandbox import Sandbox

SETTINGS_NAME = "program.json"
# The variable in which uvicorn and gunicorn look for the clients whose forwarding headers they are to believe.
_BELIEVED = "FORWARDED_ALLOW_IPS"


def command_program(  # noqa: PLR0913, PLR0917  each is another part of what an instance is made of
    revision: Revision, code: Code, paths: InstancePaths, given: InjectedEnv, sandbox: Sandbox, workers: int
) -> Program:
    """Build the program of a revision, its settings written. Raises CannotStart for fields that only gunicorn heeds.

    More than one of `workers` comes from the variable that the program may read itself.
    """
    server = revision.server
    for field in fields_of_gunicorn(replace(server, workers=workers), revision.env):
        raise CannotStart(f"the manifest's '{field}' {why_unfit(code.runtime)}")
    return Program(
        name=Path(code.command[0]).name,
        app=revision.app,
        revision=revision.id,
        build=revision.build.id,
        argv=_argv(_written(revision, code, paths, sandbox)),
        environment=partial(environment, revision, code, paths, given=_told_of_proxy(revision, code, given)),
        readiness=WorkersReady(workers=workers),
        directory=revision.id,
        start_timeout_s=server.start_timeout_s,
        stop_timeout_s=server.stop_timeout_s,
        address=revision.address,
        beside=revision.beside,
        counts_requests=server.counts,
        sight=sight_of(revision, code.python, opens=code.listen == "port"),
    )


def _told_of_proxy(revision: Revision, code: Code, given: InjectedEnv) -> InjectedEnv:
    believed = believed_clients(revision.addresses, code.listen, names_client=given.names_client)
    return given if believed is None else replace(given, fallback={_BELIEVED: believed, **given.fallback})


def believed_clients(addresses: Sequence[Address], listen: Listen, *, names_client: bool) -> str | None:
    """Return whose forwarding headers servers of Python are to believe, None for what they do by themselves.

    They believe clients at 127.0.0.1, and none at a unix socket. At a socket of its own, a program believes them all if
    it is reached by the proxy alone, which then names the client. Otherwise all come from the forwarder, at 127.0.0.1
    or, if they cannot be the proxy, at 127.0.0.2: where other hosts reach that, it believes none at all.
    """
    if listen == "socket" and names_client and addresses and all(each.path for each in addresses):
        return "*"
    if listen != "socket" and not all(each.is_local for each in addresses):
        return ""
    return None


def _argv(settings: Path) -> tuple[str, ...]:
    script = str(package_directory("reconciler.serving.forwarder") / "main.py")
    return (sys.executable, "-I", "-S", script, str(settings))


def _written(revision: Revision, code: Code, paths: InstancePaths, sandbox: Sandbox) -> Path:
    """Write the forwarder's settings beside a link to the code, and return their path."""
    settings = revision_directory(revision, code, paths, sandbox) / SETTINGS_NAME
    server = revision.server
    health = server.health
    stored = {
        "app": revision.app,
        "command": code.command,
        "listen": code.listen,
        "listeners": len(revision.addresses),
        "directory": code.directory,
        "readiness": str(paths.readiness),
        "scratch": str(paths.scratch),
        "wakeup_file": str(paths.wakeup_file),
        "log": "" if paths.foreground else str(paths.log),
        "health_path": None if health is None else health.path,
        "health_host": health_host(revision),
        "health_timeout_s": 2.0 if health is None else health.timeout_s,
        "start_timeout_s": server.start_timeout_s,
        "stop_timeout_s": server.stop_timeout_s,
        "foreground": paths.foreground,
    }
    replace_file(settings, json.dumps(stored, indent=1), mode=sandbox.readable, durable=False)
    return settings
