"""A staged revision in, what gunicorn needs out: its config file, its command line and its environment."""

import json
import os
import resource
import shutil
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path

from reconciler.linux.processes import APP_MARK, INSTANCE_MARK, REVISION_MARK, STATE_MARK
from reconciler.planning.desired import Address, Revision
from reconciler.planning.fingerprint import Json

CONFIG_NAME = "gunicorn.config"
_NO_SERVICES = {"VCAP_SERVICES": "{}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What staging made of an app, as far as serving it needs to know. Paths are absolute."""

    directory: str
    python: str
    target: str
    worker_class: str
    runtime: str
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePaths:
    """Where one app's instances read and write. Paths are absolute; all of them exist when an instance starts."""

    revisions: Path
    readiness: Path
    home: Path
    scratch: Path
    log: Path
    access_log: Path
    wakeup_pipe: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What marks an instance's processes as ours. `started_at` is wall-clock seconds, for display."""

    state: str
    instance: str
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedEnv:
    """Secrets that an instance is given beside its revision, which names them only.

    `fallback` counts less than the manifest's own variables, as does `env`; `ours` counts more than anything.
    """

    fallback: Mapping[str, str] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ours: Mapping[str, str] = field(default_factory=dict, repr=False)


def write_config(revision: Revision, code: Code, places: InstancePaths, workers: int) -> Path:
    """Write the config of a revision beside a link to its code; returns the file. Rewriting it changes nothing."""
    directory = places.revisions / revision.id
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = directory / "code"
    if not link.is_symlink():
        link.symlink_to(code.directory)
    config = directory / CONFIG_NAME
    text = config_text(revision, code, places, workers)
    if not config.exists() or config.read_text(encoding="utf-8") != text:
        draft = config.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(config)
    return config


def config_text(revision: Revision, code: Code, places: InstancePaths, workers: int) -> str:
    """Return the text of gunicorn.config for instances of a revision that start with so many workers."""
    server = revision.server
    return _template().substitute(
        app=json.dumps(revision.app),
        revision=revision.id,
        bind=json.dumps(str(revision.address)),
        workers=workers,
        threads=server.threads,
        worker_class=json.dumps(server.worker_class or code.worker_class),
        graceful_timeout=max(1, round(server.stop_timeout_s)),
        errorlog=json.dumps(str(places.log)),
        accesslog=repr(str(places.access_log)) if server.access_log else None,
        settings="\n".join(
            f"{name} = {value!r}" for name, value in sorted({**code.settings, **server.settings}.items())
        ),
        passed=json.dumps(str(places.readiness)),
        doorbell=json.dumps(str(places.wakeup_pipe)),
        instance_mark=INSTANCE_MARK,
        app_mark=APP_MARK,
        gate=json.dumps(str(resources.files("reconciler.serving") / "gate.py")),
        health_path=repr(server.health.path) if server.health else None,
        health_host=json.dumps(health_host(revision)),
        health_timeout_s=server.health.timeout_s if server.health else 0,
    )


def health_host(revision: Revision) -> str:
    """What stands in the Host header when the daemon or a worker asks how the app is."""
    health = revision.server.health
    return health.host if health is not None and health.host else str(revision.address)


def argv(config: Path, code: Code) -> tuple[str, ...]:
    """The command line that becomes gunicorn."""
    launcher = str(resources.files("reconciler.serving") / "launcher.py")
    return (code.python, launcher, code.directory, "-c", str(config), code.target)


def environment(
    revision: Revision, code: Code, places: InstancePaths, identity: Identity, given: InjectedEnv = InjectedEnv()
) -> dict[str, str]:
    """The whole environment of an instance; nothing of the daemon's own leaks in but its language and time zone."""
    address = _address(revision)
    port = str(address.port)
    base = {
        "HOME": str(places.home),
        "TMPDIR": str(places.scratch),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PATH": f"{Path(code.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # setproctitle must not write over the marks that the process table shows
        "PORT": port,
        "INSTANCE_INDEX": "0",
        "CF_INSTANCE_INDEX": "0",
        "CF_INSTANCE_GUID": identity.instance,
        "CF_INSTANCE_PORT": port,
        "CF_INSTANCE_ADDR": str(address),
        "MEMORY_LIMIT": f"{_memory_bytes() // 2**20}m",
    }
    if "TZ" in os.environ:
        base["TZ"] = os.environ["TZ"]
    ours = {
        "VCAP_APPLICATION": json.dumps(vcap_application(revision, code, places, identity), sort_keys=True),
        "VCAP_APP_HOST": address.host,
        "VCAP_APP_PORT": port,
        STATE_MARK: identity.state,
        INSTANCE_MARK: identity.instance,
        APP_MARK: revision.app,
        REVISION_MARK: revision.id,
    }
    return {**base, **given.fallback, **given.env, **revision.env, **ours, **(given.ours or _NO_SERVICES)}


def _address(revision: Revision) -> Address:
    """Return the address of a revision that gunicorn serves, which always has one."""
    assert revision.address is not None
    return revision.address


def vcap_application(revision: Revision, code: Code, places: InstancePaths, identity: Identity) -> Mapping[str, Json]:
    """The VCAP_APPLICATION object, v1 keys and modern ones in one."""
    started = datetime.fromtimestamp(identity.started_at, UTC)
    address = _address(revision)
    uris: list[Json] = [str(address)]
    return {
        "application_id": f"{identity.state}-{revision.app}",
        "application_name": revision.app,
        "application_uris": uris,
        "application_version": revision.id,
        "host": address.host,
        "instance_id": identity.instance,
        "instance_index": 0,
        "limits": {"mem": _memory_bytes(), "disk": _disk_bytes(places.home), "fds": _descriptors()},
        "name": revision.app,
        "port": address.port,
        "process_type": "web",
        "runtime": code.runtime,
        "start": started.strftime("%Y-%m-%d %H:%M:%S +0000"),
        "started_at": started.isoformat(),
        "state_timestamp": int(identity.started_at),
        "uris": uris,
        "users": [],
        "version": revision.id,
    }


def _memory_bytes() -> int:
    """No limit is set on an instance: what it may use is what the host has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk_bytes(place: Path) -> int:
    return shutil.disk_usage(place).total


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@lru_cache(maxsize=1)
def _template() -> string.Template:
    text = (resources.files("reconciler.serving") / "gunicorn.config.template").read_text()
    return string.Template(text)
