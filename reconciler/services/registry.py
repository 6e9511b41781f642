"""The provisioners of the types of services, each imported when it is first needed."""

import importlib
from collections.abc import Mapping
from functools import cache

from reconciler.services.provisioner import Misconfigured, Provisioner, ServiceError

# The type in a manifest → its provisioner, and the third-party module that it needs.
_PROVISIONERS: Mapping[str, tuple[str, str]] = {
    "sqlite": ("reconciler.services.types.sqlite.provisioner:Sqlite", ""),
    "user-provided": ("reconciler.services.types.user_provided.provisioner:UserProvided", ""),
    "postgresql": ("reconciler.services.types.postgresql.provisioner:Postgresql", "psycopg"),
    "mysql": ("reconciler.services.types.mysql.provisioner:Mysql", "pymysql"),
    "redis": ("reconciler.services.types.redis.provisioner:Redis", "redis"),
    "rabbitmq": ("reconciler.services.types.rabbitmq.provisioner:Rabbitmq", "httpx"),
    "broker": ("reconciler.services.types.broker.provisioner:Broker", "httpx"),
}
# Types that need no server of the host's settings.
WITHOUT_SERVER = frozenset(("sqlite", "user-provided"))
# Types that cannot be backed up, and why.
WITHOUT_BACKUP: Mapping[str, str] = {
    "user-provided": "its data belongs to others",
    "rabbitmq": "RabbitMQ does not export messages",
    "broker": "the broker's API has no backups",
}


@cache
def provisioner_of(of_type: str) -> Provisioner:
    """Return the provisioner of a type. Raises Misconfigured if there is none, or its package is missing."""
    location, package = _PROVISIONERS.get(of_type, ("", ""))
    if not location:
        raise Misconfigured(f"unknown type '{of_type}'")
    module, _, name = location.partition(":")
    try:
        made: Provisioner = getattr(importlib.import_module(module), name)()
    except ModuleNotFoundError as error:
        if error.name and package and error.name.partition(".")[0] == package:
            raise Misconfigured(
                f"type {of_type} needs {package}: pip install 'reconciler[services]', then restart the daemon"
            ) from error
        raise ServiceError(f"type {of_type} cannot be loaded: {error}") from error
    return made
