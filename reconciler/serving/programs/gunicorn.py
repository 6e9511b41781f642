"""Build the program that serves a staged revision by gunicorn: its config file, command line and environment."""

import contextlib
import json
import os
import resource
import shutil
import string
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file, require_no_link
from reconciler.linux.package_files import package_directory
from reconciler.linux.regular_files import read_own
from reconciler.planning.apps.code_commands import Listen
from reconciler.planning.apps.command_words import OWN_COMMANDS
from reconciler.planning.apps.revision import Revision, Server
from reconciler.planning.fingerprint import Json
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.serving.marks import INSTANCE_MARK, Identity
from reconciler.serving.programs.program import Forkable, Program, WorkersReady
from reconciler.serving.programs.sight import sight_of
from reconciler.serving.sandbox import Sandbox
from reconciler.serving.worker_wakeups import make_wakeup_file
from reconciler.state.paths import StatePaths

CONFIG_NAME = "gunicorn.config"
_OF_THIS_HOST = "127.0.0.1"  # what apps that check the Host header take from a listener without a name of its own
_NO_SERVICES = {"VCAP_SERVICES": "{}"}
_OF_LISTENERS = frozenset(("PORT", "CF_INSTANCE_PORT", "CF_INSTANCE_ADDR", "VCAP_APP_HOST", "VCAP_APP_PORT"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The code and environment of a build, as far as serving it needs them. Paths are absolute.

    `command` is the program that serves in place of gunicorn, reached as `listen` says; `python` is "" without one.
    """

    directory: str
    python: str
    target: str
    worker_class: str
    runtime: str
    settings: Mapping[str, Json] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    listen: Listen = "port"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePaths:
    """The paths that one app's instances read and write: absolute, and all there when an instance starts.

    What runs in the `foreground` is watched by no daemon, and logs to its standard output and error.
    """

    revisions: Path
    readiness: Path
    home: Path
    scratch: Path
    log: Path
    access_log: Path
    wakeup_file: Path
    foreground: bool = False

    @classmethod
    def of(cls, paths: StatePaths, app: str) -> "InstancePaths":
        """Return those of an app below a state directory."""
        return cls(
            revisions=paths.revisions(app),
            readiness=paths.readiness(app),
            home=paths.home(app),
            scratch=paths.scratch(app),
            log=paths.log(app, "app"),
            access_log=paths.log(app, "access"),
            wakeup_file=paths.wakeup_file(app),
        )

    def code(self, directory: str) -> Path:
        """Return the link to the code of the revision whose directory has this name."""
        return self.revisions / directory / "code"

    def log_of(self, process: str, slot: int) -> Path:
        """Return the log of the web server, or of a process with its number."""
        return self.log.with_name(f"{process}.{slot}.log") if process else self.log

    def create(self, sandbox: Sandbox) -> None:
        """Create every directory, as the processes of the sandbox may use it.

        A link that the app put in the place of one is removed; of its home, which holds data, refused. Raises OSError.
        """
        for directory in (self.revisions, self.readiness, self.scratch):
            if directory.is_symlink():
                directory.unlink()
            sandbox.make_directory(directory)
        if os.path.lexists(self.home):
            require_no_link(self.home)
        sandbox.make_directory(self.home)
        if not self.foreground:
            make_wakeup_file(self.wakeup_file)
        with contextlib.suppress(OSError):  # an app that cannot have a log starts without one, and that is journaled
            sandbox.make_directory(self.log.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedEnv:
    """Secret variables of an instance, which its revision only names.

    The manifest's own variables override `fallback` and `env`; nothing overrides `ours`. `domains` are the app's names.
    `names_client` tells whether the proxy says in X-Forwarded-For who the client is, and nothing besides. `limits` are
    those that its variables name.
    """

    fallback: Mapping[str, str] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ours: Mapping[str, str] = field(default_factory=dict, repr=False)
    domains: tuple[str, ...] = ()
    names_client: bool = False
    limits: Limits = NO_LIMITS


def gunicorn_program(  # noqa: PLR0913, PLR0917  each is another part of what an instance is made of
    revision: Revision, code: Code, paths: InstancePaths, given: InjectedEnv, sandbox: Sandbox, workers: int
) -> Program:
    """Build the program of a revision that starts with so many workers, its config file written."""
    server = revision.server
    return Program(
        name="gunicorn",
        app=revision.app,
        revision=revision.id,
        build=revision.build.id,
        argv=argv(write_config(revision, code, paths, sandbox, workers), code),
        environment=partial(environment, revision, code, paths, given=given),
        readiness=WorkersReady(workers=workers),
        directory=revision.id,
        start_timeout_s=server.start_timeout_s,
        stop_timeout_s=server.stop_timeout_s,
        address=revision.address,
        beside=revision.beside,
        forkable=forkable(server, code),
        counts_requests=server.counts,
        sight=sight_of(revision, code.python),
        logs_access=bool(server.access_log),
    )


def forkable(server: Server, code: Code) -> Forkable:
    """Return what a fork server has to know of an app's gunicorn."""
    worker_class = server.worker_class or code.worker_class
    return Forkable(
        runtime=code.runtime,
        worker_class="gthread" if worker_class == "sync" and server.threads > 1 else worker_class,
        preloads_app=bool({**code.settings, **server.settings}.get("preload_app")),
    )


def revision_directory(revision: Revision, code: Code, paths: InstancePaths, sandbox: Sandbox) -> Path:
    """Return the directory of a revision, with a link to its code in it. Raises OSError."""
    directory = paths.revisions / revision.id
    sandbox.make_directory(directory)
    link = paths.code(revision.id)
    if not link.is_symlink():
        link.symlink_to(code.directory)
    return directory


def write_config(revision: Revision, code: Code, paths: InstancePaths, sandbox: Sandbox, workers: int) -> Path:
    """Write the config of a revision beside a link to its code, and return its path.

    Nothing changes for instances that run: gunicorn reads it once, when it starts.
    """
    config = revision_directory(revision, code, paths, sandbox) / CONFIG_NAME
    text = config_text(revision, code, paths, workers)
    if not _holds(config, text.encode()):
        replace_file(config, text, mode=sandbox.readable, durable=False)
    return config


def _holds(file: Path, content: bytes) -> bool:
    """Return whether a file of ours holds just this; the app may have put anything in its place."""
    with contextlib.suppress(OSError):
        return read_own(file, len(content) + 1) == content
    return False


def config_text(revision: Revision, code: Code, paths: InstancePaths, workers: int) -> str:
    """Return the text of gunicorn.config for instances of a revision that start with so many workers."""
    server, bind = revision.server, [str(address) for address in revision.addresses or (None,)]
    text = _template().substitute(
        app=repr(revision.app),
        revision=revision.id,
        bind=repr(bind[0] if len(bind) == 1 else bind),
        workers=workers,
        threads=server.threads,
        worker_class=repr(server.worker_class or code.worker_class),
        graceful_timeout=max(1, round(server.stop_timeout_s)),
        errorlog=None if paths.foreground else _literal(str(paths.log)),
        accesslog=_literal(str(paths.access_log)) if server.access_log and not paths.foreground else None,
        settings="\n".join(
            f"{name} = {value!r}" for name, value in sorted({**code.settings, **server.settings}.items())
        ),
        passed=_literal(str(paths.readiness)),
        doorbell=_literal(str(paths.wakeup_file)),
        instance_mark=INSTANCE_MARK,
        gate=_literal(str(package_directory("reconciler.serving") / "gate.py")),
        health_path=repr(server.health.path) if server.health else None,
        health_host=repr(health_host(revision)),
        health_timeout_s=server.health.timeout_s if server.health else 0,
        start_timeout_s=server.start_timeout_s,
        logs_probes=server.access_log == "all",
    )
    return f"{text}{_in_foreground(server, workers)}" if paths.foreground else text


def _in_foreground(server: Server, workers: int) -> str:
    """Return the end of the config where no daemon says when an instance serves, or ends one that cannot."""
    printed = 'accesslog = "-"\n' if server.access_log else ""
    alone = _literal(str(package_directory("reconciler.serving") / "gate_alone.py"))
    return f"_module({alone}).stand_alone(_gate, {workers})\n{printed}"


def _literal(text: str) -> str:
    """Write a path as an expression that every Python reads alike, whatever its bytes."""
    return f"_text({os.fsencode(text)!r})"


def health_host(revision: Revision) -> str:
    """Return the Host header of health probes, by the daemon and by workers."""
    health, address = revision.server.health, revision.address
    if health is not None and health.host:
        return health.host
    return _OF_THIS_HOST if address is not None and address.path else str(address)


def argv(config: Path, code: Code) -> tuple[str, ...]:
    """Return the command line that becomes gunicorn."""
    launcher = str(package_directory("reconciler.serving") / "launcher.py")
    return (code.python, launcher, code.directory, "-c", str(config), code.target)


def environment(
    revision: Revision, code: Code, paths: InstancePaths, identity: Identity, given: InjectedEnv = InjectedEnv()
) -> dict[str, str]:
    """Return the variables of an instance, to be added to those of its sandbox."""
    address = revision.port
    base = {
        "HOME": str(paths.home),
        "TMPDIR": str(paths.scratch),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "INSTANCE_INDEX": "0",
        "CF_INSTANCE_INDEX": "0",
        "CF_INSTANCE_GUID": identity.instance,
        "MEMORY_LIMIT": f"{_memory_bytes(given.limits) // 2**20}m",
    }
    ours = {
        "VCAP_APPLICATION": json.dumps(vcap_application(revision, code, paths, identity, given), sort_keys=True),
        **identity.marks(revision.app, revision.id),
    }
    if address is not None:  # a unix socket has no port, and is inherited
        port = str(address.port)
        base |= {"PORT": port, "CF_INSTANCE_PORT": port, "CF_INSTANCE_ADDR": str(address)}
        ours |= {"VCAP_APP_HOST": address.host, "VCAP_APP_PORT": port}
    variables = {**base, **given.fallback, **given.env, **revision.env, **ours, **(given.ours or _NO_SERVICES)}
    for scripts in _scripts(code):  # a PATH that the app sets finds its own commands as well
        if scripts not in variables["PATH"].split(":"):
            variables["PATH"] = f"{scripts}:{variables['PATH']}"
    return variables


def without_listener(variables: Mapping[str, str], revision: Revision) -> dict[str, str]:
    """Return the variables of an instance without those that name its address, but for what the manifest sets."""
    return {name: value for name, value in variables.items() if name not in _OF_LISTENERS or name in revision.env}


def _scripts(code: Code) -> tuple[str, ...]:
    """Return the directories of the commands that a build has, the first one last."""
    of_python = (str(Path(code.python).parent),) if code.python else ()
    return (*(f"{code.directory}/{each}" for each in OWN_COMMANDS), *of_python) if not code.target else of_python


def vcap_application(
    revision: Revision, code: Code, paths: InstancePaths, identity: Identity, given: InjectedEnv
) -> Mapping[str, Json]:
    """Return the VCAP_APPLICATION object, with the keys of Cloud Foundry's first API and of today's.

    Its `uris` are the app's domains, or the address of its listener if it has none. One with a socket, or without a
    listener, has no port.
    """
    started = datetime.fromtimestamp(identity.started_at, UTC)
    address = revision.port
    uris: list[Json] = [*given.domains] or ([] if revision.address is None else [str(revision.address)])
    where: Mapping[str, Json] = {} if address is None else {"host": address.host, "port": address.port}
    return {
        **where,
        "application_id": f"{identity.state}-{revision.app}",
        "application_name": revision.app,
        "application_uris": uris,
        "application_version": revision.id,
        "instance_id": identity.instance,
        "instance_index": 0,
        "limits": {
            "mem": _memory_bytes(given.limits),
            "disk": given.limits.disk or _disk_bytes(paths.home),
            "fds": given.limits.files or _descriptors(),
        },
        "name": revision.app,
        "process_type": "web",
        "runtime": code.runtime,
        "start": started.strftime("%Y-%m-%d %H:%M:%S +0000"),
        "started_at": started.isoformat(),
        "state_timestamp": int(identity.started_at),
        "uris": uris,
        "users": [],
        "version": revision.id,
    }


def _memory_bytes(limits: Limits) -> int:
    """Return the memory that an instance may use: that of the host, unless it has a limit of its own."""
    return limits.memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk_bytes(path: Path) -> int:
    return shutil.disk_usage(path).total


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@lru_cache(maxsize=1)
def _template() -> string.Template:
    text = (package_directory("reconciler.serving.programs") / "gunicorn.config.template").read_text(encoding="utf-8")
    return string.Template(text)
