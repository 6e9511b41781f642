"""Which server a service is on, and where it is there, from what is on record and the host's settings."""

from collections.abc import Mapping

from reconciler.planning.desired import Service
from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Misconfigured, Server, ServiceSpec
from reconciler.services.records import ServiceRecord
from reconciler.services.registry import WITHOUT_SERVER
from reconciler.settings.settings import ServiceServer, Settings
from reconciler.vault.secret import Secret


def server_name(service: Service, servers: Mapping[str, ServiceServer]) -> str | None:
    """The server a service is to be on, None for a type that needs none. Raises Impossible, naming the choices."""
    if service.type in WITHOUT_SERVER:
        return None
    fitting = sorted(name for name, server in servers.items() if server.type == service.type)
    if service.server is not None:
        if service.server in fitting:
            return service.server
        known = f"; there is {', '.join(fitting)}" if fitting else ""
        raise Misconfigured(f"the host's settings name no {service.type} server '{service.server}'{known}")
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise Misconfigured(f"the host's settings name no server of type {service.type}: add one to services.servers")
    raise Misconfigured(f"which server? The host's settings name {', '.join(fitting)}: say 'server:' in the manifest")


def server_of(settings: ServiceServer) -> Server:
    """A server with its password, read from its file now. Raises Impossible."""
    password = None
    if settings.password_file is not None:
        try:
            password = Secret(settings.password_file.read_text(encoding="utf-8").rstrip("\r\n"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            message = f"cannot read the password of server {settings.name} in {settings.password_file}: {why}"
            raise Misconfigured(message) from None
    return Server(
        name=settings.name,
        type=settings.type,
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=password,
        options=settings.options,
    )


def spec_of(record: ServiceRecord, asked: Mapping[str, Json], settings: Settings) -> ServiceSpec:
    """What a kind is told of a service. Raises Impossible when its server is in the settings no longer."""
    server = None
    if record.server is not None:
        known = settings.servers.get(record.server)
        if known is None:
            raise Misconfigured(f"the host's settings name no server '{record.server}' any more, on which it is")
        server = server_of(known)
    return ServiceSpec(
        id=record.id,
        name=record.name,
        type=record.type,
        plan=record.plan,
        server=server,
        asked=asked,
        directory=settings.paths.service(record.name, record.id),
    )
