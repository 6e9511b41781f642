"""Choose the program to open a service with by the scheme of its URI; the password goes by the environment."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import SplitResult, urlsplit

from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Client, Misconfigured

# The scheme of a URI → the type of service whose `uri_client` module opens it.
_TYPES: Mapping[str, str] = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mysql2": "mysql",
    "mariadb": "mysql",
    "redis": "redis",
    "rediss": "redis",
}


def client_of_uri(service: str, credentials: Mapping[str, Json]) -> Client:
    """Return psql, mysql or redis-cli for the `uri` (or `url`) of credentials. Raises Misconfigured if none fits."""
    uri = credentials.get("uri") or credentials.get("url")
    if not isinstance(uri, str) or not uri:
        raise Misconfigured(f"the credentials of {service} have no uri")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise Misconfigured(f"the uri of {service} cannot be read") from None
    of_type = _TYPES.get(parts.scheme.partition("+")[0])
    if of_type is None:
        raise Misconfigured(f"the uri of {service} has the scheme {parts.scheme!r}, for which there is no client")
    from_uri: Callable[[SplitResult, int | None], Client]
    from_uri = importlib.import_module(f"reconciler.services.types.{of_type}.uri_client").from_uri
    client = from_uri(parts, port)
    if any("\0" in text for text in (*client.argv, *client.environment.values())):
        raise Misconfigured(f"the uri of {service} cannot be read")
    return replace(client, environment={name: value for name, value in client.environment.items() if value})
