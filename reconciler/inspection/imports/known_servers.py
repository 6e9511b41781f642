"""Know the databases and queues that an image, a name or an address stands for."""

import re

_TYPES = (
    ("postgresql", re.compile(r"(?:^|[/_.-])(?:postgres(?:ql)?|postgis|pgvector|timescaledb|pg)(?:$|[/_:.@-])")),
    ("mysql", re.compile(r"(?:^|[/_.-])(?:mysql|mariadb|percona|mysql-server)(?:$|[/_:.@-])")),
    ("redis", re.compile(r"(?:^|[/_.-])(?:redis|valkey|keydb|redis-stack|redis-stack-server)(?:$|[/_:.@-])")),
    ("rabbitmq", re.compile(r"(?:^|[/_.-])(?:rabbitmq|cloudamqp|rabbit)(?:$|[/_:.@-])")),
)


def service_type(text: str) -> str | None:
    """Return the type of service that the name of an image or a service stands for; None if none does.

    >>> service_type("docker.io/library/postgres:16-alpine")
    'postgresql'
    """
    return next((kind for kind, pattern in _TYPES if pattern.search(text.lower())), None)


def mentions(value: str, host: str) -> bool:
    """Tell whether a value names a host: alone, with a port, or in a URL."""
    return re.search(rf"(?:^|@|//|,){re.escape(host)}(?:$|[:/,?])", value) is not None
