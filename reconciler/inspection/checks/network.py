"""Check what this host reaches and is reached by: the servers of services, the services, and the page's address."""

import contextlib
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.inspection.checks.check import Check
from reconciler.linux.error_words import in_words
from reconciler.linux.unix_sockets import reachable
from reconciler.settings.settings import ServiceServer, Settings
from reconciler.state.lock import holder

_PATIENCE_S = 2.0
_PORTS: Mapping[str, int] = {"postgresql": 5432, "mysql": 3306, "redis": 6379}
_MANAGEMENT_PORT = 15672  # of RabbitMQ, whose users are made through its management API


def servers(settings: Settings) -> Iterator[Check]:
    """Check that each server that the settings name accepts connections."""
    from reconciler.services.provisioner import ServiceError
    from reconciler.services.registry import provisioner_of

    for server in settings.servers.values():
        subject = f"server {server.name}"
        advice = f"start it, or correct 'services.servers.{server.name}' in the host's settings"
        try:
            provisioner_of(server.type)
            if server.password_file is not None:
                server.password_file.read_bytes()
            where = _connect(server)
        except ServiceError as error:
            yield Check(level="warn", subject=subject, found=str(error), advice=advice)
        except (OSError, ValueError) as error:
            yield Check(level="warn", subject=subject, found=f"{server.type}: {_why(error)}", advice=advice)
        else:
            yield Check(level="ok", subject=subject, found=f"{server.type}, {where}")


def services(settings: Settings) -> Iterator[Check]:
    """Check that no service is failing."""
    from reconciler.state.records import Records
    from reconciler.state.schema import OtherVersion, open_database

    if not settings.paths.database.exists():
        return
    with (
        contextlib.suppress(OtherVersion, sqlite3.Error),
        contextlib.closing(open_database(settings.paths.database, read_only=True)) as database,
    ):
        for name, last in Records(database).service_statuses().items():
            if last.state == "failing":
                advice = f"'reconciler events service/{name}' shows what was tried"
                yield Check(level="warn", subject=f"service {name}", found=last.message, advice=advice)


def page(settings: Settings) -> Iterator[Check]:
    """Check that the page and the API can be reached at the address of the settings."""
    if settings.api is None:
        return
    at = f"{settings.api.host}:{settings.api.port}"
    try:
        settings.api.token.read_bytes()
    except OSError as error:
        advice = "create the file that 'api.token' names in the host's settings, with a long random word in it"
        yield Check(level="warn", subject="page", found=_why(error), advice=advice)
        return
    answers = _accepts(settings.api.host, settings.api.port)
    if holder(settings.paths) is None:
        if answers:
            advice = "end that program, or choose another 'api.address' in the host's settings"
            yield Check(level="warn", subject="page", found=f"{at} is in use by another program", advice=advice)
        else:
            yield Check(level="ok", subject="page", found=f"{at} is free for the daemon")
    elif answers:
        yield Check(level="ok", subject="page", found=f"http://{at}/ accepts connections")
    else:
        advice = f"'reconciler events' says why; restart the daemon after a change of 'api' ({settings.paths.web_log})"
        yield Check(level="warn", subject="page", found=f"{at} does not accept connections", advice=advice)


def _connect(server: ServiceServer) -> str:
    """Connect to a server and return where it is. Raises OSError or ValueError."""
    if program := server.options.get("rabbitmqctl"):
        return f"administered with {program}"
    if server.type == "broker":
        url = urlsplit(str(server.options.get("url", "")))
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    elif server.type == "rabbitmq":
        host, port = server.host, int(str(server.options.get("management_port", _MANAGEMENT_PORT)))
    else:
        host, port = server.host, server.port or _PORTS[server.type]
    if host.startswith("/"):
        path = f"{host}/.s.PGSQL.{port}" if server.type == "postgresql" else host
        _connect_unix(path)
        return f"{path} accepts connections"
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except OSError as error:
        raise OSError(f"cannot connect to {host}:{port}: {error.strerror or error}") from error
    return f"{host}:{port} accepts connections"


def _connect_unix(path: str) -> None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, reachable(Path(path)) as short:
            client.settimeout(_PATIENCE_S)
            client.connect(short)
    except OSError as error:
        raise OSError(f"cannot connect to {path}: {error.strerror or error}") from error


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except OSError:
        return False
    return True


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"cannot read {error.filename}: {in_words(error)}"
    return str(error)
