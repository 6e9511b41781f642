"""Know the databases and queues that an image, a name or an address stands for."""

import re
from collections.abc import Iterable, Mapping

from reconciler.inspection.imports.draft import Draft

_TYPES = (
    ("postgresql", re.compile(r"(?:^|[/_.-])(?:postgres(?:ql)?|postgis|pgvector|timescaledb|pg)(?:$|[/_:.@-])")),
    ("mysql", re.compile(r"(?:^|[/_.-])(?:mysql|mariadb|percona|mysql-server)(?:$|[/_:.@-])")),
    ("redis", re.compile(r"(?:^|[/_.-])(?:redis|valkey|keydb|redis-stack|redis-stack-server)(?:$|[/_:.@-])")),
    ("rabbitmq", re.compile(r"(?:^|[/_.-])(?:rabbitmq|cloudamqp|rabbit|rmq)(?:$|[/_:.@-])")),
)
# Names of the providers that Heroku, Cloud Foundry and Bluemix sell.
_ADDONS: Mapping[str, str] = {
    "heroku-postgresql": "postgresql", "elephantsql": "postgresql", "compose-for-postgresql": "postgresql",
    "databases-for-postgresql": "postgresql", "heroku-redis": "redis", "heroku-data-for-redis": "redis",
    "rediscloud": "redis", "redistogo": "redis", "heroku-key-value-store": "redis", "openredis": "redis",
    "compose-for-redis": "redis", "databases-for-redis": "redis", "jawsdb": "mysql", "jawsdb-maria": "mysql",
    "cleardb": "mysql", "compose-for-mysql": "mysql", "cloudamqp": "rabbitmq", "rabbitmq-bigwig": "rabbitmq",
    "compose-for-rabbitmq": "rabbitmq",
}  # fmt: skip
# The variables that platforms set for a service. Of these, the daemon sets DATABASE_URL.
_VARIABLES: Mapping[str, frozenset[str]] = {
    "DATABASE_URL": frozenset(("postgresql", "mysql")),
    "REDIS_URL": frozenset(("redis",)),
    "CLOUDAMQP_URL": frozenset(("rabbitmq",)),
    "RABBITMQ_URL": frozenset(("rabbitmq",)),
}


def addon_type(name: str) -> str | None:
    """Return the type of service that the name of a provider's service stands for; None if none does."""
    return _ADDONS.get(name)


def instead_of(variable: str, services: Iterable[Draft]) -> str | None:
    """Return how an app finds the service whose address a variable holds; None if it is none of these."""
    kinds = _VARIABLES.get(variable, frozenset())
    service = next((each.name for each in services if each.fields.get("type") in kinds), None)
    if service is None:
        return None
    if variable == "DATABASE_URL":
        return f"the daemon sets it, for the service {service}"
    return f"the app finds the service {service} in VCAP_SERVICES; there is no {variable}"


def service_type(text: str) -> str | None:
    """Return the type of service that the name of an image or a service stands for; None if none does.

    >>> service_type("docker.io/library/postgres:16-alpine")
    'postgresql'
    """
    return next((kind for kind, pattern in _TYPES if pattern.search(text.lower())), None)


def mentions(value: str, host: str) -> bool:
    """Tell whether a value names a host: alone, with a port, or in a URL."""
    return re.search(rf"(?:^|@|//|,){re.escape(host)}(?:$|[:/,?])", value) is not None
