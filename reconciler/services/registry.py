"""The type a service is of in; what can be done with it out. Each kind's module is imported when first asked for."""

import importlib
from collections.abc import Mapping
from functools import cache

from reconciler.services.provisioner import Misconfigured, Provisioner, ServiceError

# The type in a manifest → where its kind is, and the module outside of us that it cannot do without.
_KINDS: Mapping[str, tuple[str, str]] = {
    "sqlite": ("reconciler.services.types.sqlite.provisioner:Sqlite", ""),
    "user-provided": ("reconciler.services.types.user_provided.provisioner:UserProvided", ""),
    "postgresql": ("reconciler.services.types.postgresql.provisioner:Postgresql", "psycopg"),
    "mysql": ("reconciler.services.types.mysql.provisioner:Mysql", "pymysql"),
    "redis": ("reconciler.services.types.redis.provisioner:Redis", "redis"),
    "rabbitmq": ("reconciler.services.types.rabbitmq.provisioner:Rabbitmq", "httpx"),
    "broker": ("reconciler.services.types.broker.provisioner:Broker", "httpx"),
}
# These need no server of the host's settings.
WITHOUT_SERVER = frozenset(("sqlite", "user-provided"))


@cache
def provisioner_of(of_type: str) -> Provisioner:
    """The kind of this type. Raises Impossible when a package is missing."""
    place, package = _KINDS.get(of_type, ("", ""))
    if not place:
        raise Misconfigured(f"there is no type '{of_type}'")
    module, _, name = place.partition(":")
    try:
        made: Provisioner = getattr(importlib.import_module(module), name)()
    except ModuleNotFoundError as error:
        if error.name and package and error.name.partition(".")[0] == package:
            raise Misconfigured(
                f"type {of_type} needs {package}: pip install 'reconciler[services]', then restart the daemon"
            ) from error
        raise ServiceError(f"type {of_type} cannot be loaded: {error}") from error
    return made
