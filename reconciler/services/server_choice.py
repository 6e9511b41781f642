"""Find the server of a service in the host's settings."""

from collections.abc import Mapping

from reconciler.planning.fingerprint import Json
from reconciler.planning.services.service import Service
from reconciler.services.provisioner import Misconfigured, Server, ServiceSpec
from reconciler.services.records import ServiceRecord
from reconciler.services.registry import WITHOUT_SERVER
from reconciler.settings.settings import ServiceServer, Settings
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret import Secret
from reconciler.vault.secret_reader import SecretReader

_BRANDS = {"postgresql": "PostgreSQL", "mysql": "MySQL", "redis": "Redis", "rabbitmq": "RabbitMQ"}
# The least that reaches a server of each type, as the settings write it.
_EXAMPLES = {
    "postgresql": "user: postgres, password: {file: PATH}",
    "mysql": "user: root, password: {file: PATH}",
    "redis": "password: {file: PATH}",
    "rabbitmq": "user: admin, password: {file: PATH}",
    "broker": "url: https://broker.example.com, token: {file: PATH}",
}


def server_name(service: Service, settings: Settings) -> str | None:
    """Return the name of a service's server, None if its type needs none. Raises Misconfigured, naming the choices."""
    if service.type in WITHOUT_SERVER:
        return None
    fitting = sorted(name for name, server in settings.servers.items() if server.type == service.type)
    if service.server is not None:
        if service.server in fitting:
            return service.server
        known = f"; known: {', '.join(fitting)}" if fitting else ""
        raise Misconfigured(
            f"the host's settings ({settings.place}) have no {service.type} server '{service.server}'{known}"
        )
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise Misconfigured(_none_configured(service.type, settings))
    names = ", ".join(fitting)
    raise Misconfigured(
        f"the host's settings ({settings.place}) have several servers of type {service.type} ({names}); choose one with"
        " 'server:' in the manifest"
    )


def _none_configured(of_type: str, settings: Settings) -> str:
    where = str(settings.place) if settings.file else f"{settings.place} (or the file that --settings names)"
    example = f"main: {{type: {of_type}, {_EXAMPLES[of_type]}}}"
    brand = _BRANDS.get(of_type, of_type)
    add = f"add one under services.servers in {where}, such as '{example}', and restart the daemon"
    return f"no {brand} server is configured: {add}"


def server_of(settings: ServiceServer, reader: SecretReader) -> Server:
    """Return a server with its password, read from its file now. Raises Misconfigured."""
    password = None
    if settings.password_file is not None:
        try:
            password = Secret(reader.text_of(settings.password_file).rstrip("\r\n"))
        except Unusable as error:
            raise Misconfigured(f"cannot use the password of server {settings.name}: {error}") from None
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
    """Return what a provisioner needs of a service. Raises Misconfigured if its server left the settings."""
    server = None
    if record.server is not None:
        known = settings.servers.get(record.server)
        if known is None:
            raise Misconfigured(f"its server '{record.server}' was removed from the host's settings")
        server = server_of(known, SecretReader(settings, may_wait=False, of_host=True))
    return ServiceSpec(
        id=record.id,
        name=record.name,
        type=record.type,
        plan=record.plan,
        server=server,
        asked=asked,
        directory=settings.paths.service(record.name, record.id),
        reader=SecretReader(settings),
    )
