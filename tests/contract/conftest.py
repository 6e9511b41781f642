"""The servers that services are tested with, each started once, when it is first needed."""

from collections.abc import Iterator

import pytest

from tests.servers.mysql import MysqlServer, mysql_server
from tests.servers.postgresql import PostgresqlServer, postgresql_server
from tests.servers.rabbitmq import RabbitmqServer, rabbitmq_server
from tests.servers.redis import RedisServer, redis_server


@pytest.fixture(scope="session")
def mysql() -> Iterator[MysqlServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session", name="redis_server")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitmqServer]:
    with rabbitmq_server() as server:
        yield server
