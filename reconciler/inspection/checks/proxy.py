"""Check the proxy that serves the domains of apps: its program and version, its ports, how it is told."""

import asyncio
import contextlib
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.inspection.checks.check import Check
from reconciler.inspection.checks.kernel import number_in
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.wording import counted
from reconciler.settings.proxy import Proxy, ProxyFile
from reconciler.settings.settings import Settings

_INSTALL = "'apt install caddy', or pip install 'reconciler[proxy]'"
_NEWER = "install a newer one: pip install 'reconciler[proxy]', or name another in 'proxy.program'"


def proxy(settings: Settings, desired: DesiredState) -> Iterator[Check]:
    """Check that domains can be served; without a proxy in the settings, that no app needs one."""
    if settings.proxy is None:
        if apps := sum(app.routing is not None for app in desired.apps.values()):
            found = f"{counted(apps, 'app')} with domains, which have no effect without one"
            advice = "set 'proxy: {type: caddy, run: true}' in the host's settings, or remove 'domains'"
            yield Check(level="warn", subject="proxy", found=found, advice=advice)
        return
    if settings.proxy.file is not None:
        yield from _file(settings.proxy.file)
    elif settings.proxy.run:
        yield from _kept(settings.proxy, settings.paths.proxy)
    else:
        yield from _admin(settings.proxy.admin)
    if settings.proxy.sockets is not None:
        yield _sockets(settings.proxy.sockets)
    if settings.proxy.static is not None:
        yield _static(settings.proxy.static)


def _kept(proxy: Proxy, directory: Path) -> Iterator[Check]:
    from reconciler.routing.kept_caddy import found, kept_pid, version_of

    program = found(proxy.program)
    if program is None:
        named = (
            f"{proxy.program} is no program" if proxy.program else "no Caddy on PATH, and the extra is not installed"
        )
        advice = f"install one: {_INSTALL}; until then, apps answer at their own addresses only"
        yield Check(level="fail", subject="proxy", found=named, advice=advice)
    else:
        version = version_of(program)
        shown = f"Caddy {'.'.join(map(str, version)) or 'of an unknown version'}, {program}"
        if version and version < (2, 7):
            lacks = f"{shown}: closes every websocket whenever names change, 2.7 or newer does not"
            yield Check(level="warn", subject="proxy", found=lacks, advice=_NEWER)
        else:
            yield Check(level="ok", subject="proxy", found=shown)
    pid = kept_pid(directory)
    if pid is not None:
        yield from _admin(directory / "admin.sock")
    for port in (proxy.front.http, proxy.front.https):
        yield _port(proxy.front.address, port, pid)


def _port(host: str, port: int, ours: int | None) -> Check:
    """Check that a port is the proxy's, or can be."""
    from reconciler.serving.free_ports import is_free
    from reconciler.serving.listening_sockets import holders_at

    subject, address = f"port {port}", host or "0.0.0.0"
    holders = holders_at(address, port)
    if ours is not None and ours in holders:
        return Check(level="ok", subject=subject, found=f"the proxy listens there, pid {ours}")
    unprivileged = number_in(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start"))
    if os.geteuid() and unprivileged is not None and port < unprivileged:
        advice = (
            f"set sysctl net.ipv4.ip_unprivileged_port_start={port}, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the"
            " unit of the daemon"
        )
        found = f"only root may listen on ports below {unprivileged}"
        return Check(level="fail", subject=subject, found=found, advice=advice)
    if is_free(address, port):
        return Check(level="ok", subject=subject, found="free")
    who = ", ".join(f"{name} (pid {pid})" for pid, name in holders.items()) or "another program"
    advice = (
        f"stop it ('systemctl disable --now …'), or set 'proxy.{'http' if port == 80 else 'https'}' to another port"
    )
    return Check(level="fail", subject=subject, found=f"taken by {who}", advice=advice)


def _admin(path: Path) -> Iterator[Check]:
    from reconciler.routing.admin import AdminSocket, ProxyError

    try:
        asyncio.run(AdminSocket(path).config())
    except ProxyError as error:
        advice = f"let Caddy listen there ('admin unix/{path}' in its Caddyfile), in a group of the daemon's user"
        yield Check(level="fail", subject="proxy", found=str(error), advice=advice)
    else:
        yield Check(level="ok", subject="admin socket", found=f"{path} answers")


def _file(file: ProxyFile) -> Iterator[Check]:
    missing = [words[0] for words in (file.check, file.reload) if words and shutil.which(words[0]) is None]
    if missing:
        advice = "install it, or correct 'proxy.check' and 'proxy.reload' in the host's settings"
        found = f"{', '.join(dict.fromkeys(missing))} is no program on PATH"
        yield Check(level="fail", subject="proxy", found=found, advice=advice)
    elif not os.access(file.path.parent, os.W_OK | os.X_OK):
        advice = f"create it, or let the daemon's user write to it: chgrp GROUP {file.path.parent} && chmod g+w it"
        found = f"cannot write to {file.path.parent}, where {file.path.name} is to be"
        yield Check(level="fail", subject="proxy", found=found, advice=advice)
    else:
        yield Check(level="ok", subject="proxy", found=f"{file.format}, told by {file.path}")


def _sockets(directory: Path) -> Check:
    """Check that apps can be given sockets there, and that the group of the proxy may connect to them."""
    made = f"sudo install -d -o {_user()} -g GROUP -m 2750 {directory}, with the group of the proxy"
    found, group = "", ""
    if not directory.is_dir():
        found = f"{directory} is no directory, so apps with domains cannot listen there"
    elif not os.access(directory, os.W_OK | os.X_OK):
        found = f"cannot write to {directory}, so apps with domains cannot listen there"
    else:
        status = directory.stat()
        group, own = _group(status.st_gid), {os.getegid(), *os.getgroups()}
        if not status.st_mode & stat.S_IXGRP:
            found = f"its group may not enter {directory}, so the proxy does not reach apps"
        elif os.geteuid() and not status.st_mode & stat.S_ISGID and status.st_gid not in own:
            found = f"sockets in {directory} cannot be given to its group {group}"
        elif status.st_gid == os.getegid() and not _has_members(status.st_gid):
            found = f"{directory} is of the group {group}, which is the daemon's own: the proxy is not in it"
    if found:
        return Check(level="fail", subject="sockets", found=found, advice=made)
    return Check(level="ok", subject="sockets", found=f"{directory}, of the group {group}")


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid())


def _group(number: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


def _has_members(number: int) -> bool:
    """Return whether a group has members beside those whose own it is."""
    with contextlib.suppress(KeyError):
        return bool(grp.getgrgid(number).gr_mem)
    return False


def _static(directory: Path) -> Check:
    """Check that static files can be laid out, and be read by the user of the proxy."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    closed = [path for path in (there, *there.parents) if not path.stat().st_mode & 0o001]
    subject = "static files"
    if closed:
        advice = f"chmod o+x {closed[-1]}, or name another directory in 'proxy.static'"
        found = f"the proxy's user may not enter {closed[-1]}, so static files are not served"
        return Check(level="fail", subject=subject, found=found, advice=advice)
    if not os.access(there, os.W_OK | os.X_OK):
        advice = f"create {directory}, and give it to the daemon's user"
        return Check(level="fail", subject=subject, found=f"cannot write to {there}", advice=advice)
    return Check(level="ok", subject=subject, found=f"{directory}")
