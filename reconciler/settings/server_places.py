"""Say where apps reach the servers of services of the host's settings by TCP."""

from reconciler.settings.settings import ServiceServer

_DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "rabbitmq": 5672}
_RABBITMQ_TLS = 5671


def place_for_apps(server: ServiceServer) -> tuple[str, int] | None:
    """Return the host and the port at which apps reach a server, None if that is a socket, or nothing is known."""
    default = _DEFAULT_PORTS.get(server.type)
    if server.type == "rabbitmq" and server.options.get("ssl_ca"):
        default = _RABBITMQ_TLS
    host, port = (
        str(server.options.get("app_host", server.host)),
        server.options.get("app_port", server.port or default),
    )
    return None if host.startswith("/") or port is None else (host, int(str(port)))
