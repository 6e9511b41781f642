"""The servers that services are tested with, each started once by a worker, when it is first needed.

What a server's client needs is imported then, too: most tests need none.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.mysql import MysqlServer
    from tests.servers.postgresql import PostgresqlServer
    from tests.servers.rabbitmq import RabbitmqServer
    from tests.servers.redis import RedisServer


@pytest.fixture(scope="session")
def mysql() -> "Iterator[MysqlServer]":
    from tests.servers.mysql import mysql_server

    with mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[PostgresqlServer]":
    from tests.servers.postgresql import postgresql_server

    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session", name="redis_server")
def redis() -> "Iterator[RedisServer]":
    from tests.servers.redis import redis_server

    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> "Iterator[RabbitmqServer]":
    from tests.servers.rabbitmq import rabbitmq_server

    with rabbitmq_server() as server:
        yield server
