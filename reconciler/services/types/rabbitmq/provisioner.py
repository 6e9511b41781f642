"""RabbitMQ 3.8 and newer: a virtual host for each service, and for each grant a user with access to it only."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from reconciler.services.connection_limit import ConnectionLimit
from reconciler.services.provisioner import (
    Client,
    Credentials,
    Grant,
    Misconfigured,
    Server,
    ServiceError,
    ServiceSpec,
    called,
)
from reconciler.services.server_connection import app_address, required_server, url_authority
from reconciler.services.types.rabbitmq.admin import Administration, administration, server_label, tls_context
from reconciler.services.types.rabbitmq.amqp import Login, Refused, connected

_ACTION_TIMEOUT_S = 50.0
_CONNECT_S = 5.0
_MAX_CONNECTIONS = 4
_MAX_NAME = 52
_ACCESS_REFUSED, _NOT_ALLOWED, _INVALID_PATH = 403, 530, 402


class Rabbitmq:
    """Provisions services on any number of servers."""

    def __init__(self) -> None:
        self._limit = ConnectionLimit(_MAX_CONNECTIONS)

    async def provision(self, service: ServiceSpec) -> None:
        async with self._admin_session(service) as broker:
            await broker.make_vhost(_vhost(service))

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        async with self._admin_session(service) as broker:
            await broker.make_vhost(_vhost(service))
            await broker.make_user(grant.user, grant.password.reveal())
            await broker.permit(grant.user, _vhost(service))
        return _credentials(service, grant)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        """Log in by AMQP, as the app does."""
        server = required_server(service)
        login = _login(server, credentials)
        label = f"rabbitmq server {server.name} ({login.host}:{login.port})"
        try:
            async with asyncio.timeout(_CONNECT_S), connected(login):
                return None
        except Refused as refused:
            if refused.code not in {_ACCESS_REFUSED, _NOT_ALLOWED, _INVALID_PATH}:
                raise ServiceError(f"{label}: {refused}") from None
            return f"user {grant.user} cannot log in: {refused}"
        except TimeoutError:
            raise ServiceError(f"{label} did not answer within {_CONNECT_S:g} s") from None
        except ConnectionRefusedError:
            raise ServiceError(f"{label} refused the connection") from None
        except OSError as error:
            raise ServiceError(f"{label} cannot be reached: {error.strerror or type(error).__name__}") from None

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        async with self._admin_session(service) as broker:
            await broker.drop_user(grant.user)

    async def deprovision(self, service: ServiceSpec) -> None:
        """Delete the virtual host. Users that were not revoked stay without access: an admin may have added others."""
        async with self._admin_session(service) as broker:
            await broker.drop_vhost(_vhost(service))

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        async with self._admin_session(service) as broker:
            return await broker.size_bytes(_vhost(service))

    async def back_up(self, service: ServiceSpec, file: Path) -> None:  # noqa: ARG002 -- RabbitMQ has no dump
        raise Misconfigured(f"service {service.name}: RabbitMQ cannot dump its messages")

    async def restore(self, service: ServiceSpec, file: Path) -> None:  # noqa: ARG002 -- the same
        raise Misconfigured(f"service {service.name}: RabbitMQ cannot restore messages")

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:  # noqa: ARG002
        raise Misconfigured(f"service {service.name}: RabbitMQ cannot restore messages")

    async def remove_scratch(self, service: ServiceSpec) -> None:
        """Do nothing: nothing is restored."""

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:  # noqa: ARG002 -- the same
        raise Misconfigured(f"service {service.name}: RabbitMQ has no client that hides its password")

    @asynccontextmanager
    async def _admin_session(self, service: ServiceSpec) -> AsyncIterator[Administration]:
        server = required_server(service)
        async with (
            self._limit.slot(server.name, server_label(server), _ACTION_TIMEOUT_S),
            self._administration(server) as broker,
        ):
            yield broker

    @asynccontextmanager
    async def _administration(self, server: Server) -> AsyncIterator[Administration]:
        async with administration(server) as broker:
            yield broker


def _vhost(service: ServiceSpec) -> str:
    return called(service, _MAX_NAME)


def _credentials(service: ServiceSpec, grant: Grant) -> Credentials:
    server = required_server(service)
    host, port = app_address(server, 5671 if server.options.get("ssl_ca") else 5672)
    vhost, password = _vhost(service), grant.password.reveal()
    scheme = "amqps" if server.options.get("ssl_ca") else "amqp"
    uri = f"{scheme}://{url_authority(grant.user, password, host, port)}/{quote(vhost, safe='')}"
    return {
        "name": vhost,
        "hostname": host,
        "host": host,
        "port": port,
        "vhost": vhost,
        "user": grant.user,
        "username": grant.user,
        "password": password,
        "pass": password,
        "uri": uri,
        "url": uri,
    }


def _login(server: Server, credentials: Credentials) -> Login:
    return Login(
        host=str(credentials["host"]),
        port=int(str(credentials["port"])),
        user=str(credentials["user"]),
        password=str(credentials["password"]),
        vhost=str(credentials["vhost"]),
        encrypted=tls_context(server),
    )
