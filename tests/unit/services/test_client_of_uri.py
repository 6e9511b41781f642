"""The program that opens a service, by its uri; and that a password is never among its arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from reconciler.services.client_of_uri import client_of_uri
from reconciler.services.provisioner import Misconfigured

_PG = {"PGHOST": "db.test", "PGPORT": "5432", "PGUSER": "a b", "PGPASSWORD": "p/w", "PGDATABASE": "shop"}


@pytest.mark.parametrize(
    ("uri", "argv", "environment"),
    [
        ("postgres://a%20b:p%2Fw@db.test:5432/shop", "psql", _PG),
        ("postgresql+psycopg://a%20b:p%2Fw@db.test:5432/shop", "psql", _PG),
        ("postgresql://u@/d?host=/run/pg&sslmode=require", "psql", None),
        (
            "mysql2://u:p%40@db.test/shop?reconnect=true",
            "mysql --host=db.test --port=3306 --user=u --database=shop",
            {"MYSQL_PWD": "p@"},
        ),
        ("redis://:s3@db.test:7000/4", "redis-cli -h db.test -p 7000 -n 4", {"REDISCLI_AUTH": "s3"}),
        ("rediss://u:s3@db.test", "redis-cli -h db.test -p 6379 --user u --tls", {"REDISCLI_AUTH": "s3"}),
        ("redis://db.test", "redis-cli -h db.test -p 6379", {}),
    ],
)
def test_the_scheme_says_what_opens_it(uri: str, argv: str, environment: dict[str, str] | None) -> None:
    opened = client_of_uri("cache", {"uri": uri})
    assert " ".join(opened.argv) == argv
    if environment is None:
        environment = {"PGHOST": "/run/pg", "PGUSER": "u", "PGDATABASE": "d", "PGSSLMODE": "require"}
    assert opened.environment == environment


def test_url_is_as_good_as_uri() -> None:
    assert client_of_uri("cache", {"url": "redis://db.test"}).argv[0] == "redis-cli"


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"uri": 4},
        {"uri": "amqp://u:hunter2@q"},
        {"uri": "mysql://u:hunter2@h:x/"},
        {"uri": "redis://:hunter2%00@h"},
    ],
)
def test_what_nothing_opens_is_told_without_its_password(
    credentials: dict[str, bool | int | float | str | None],
) -> None:
    with pytest.raises(Misconfigured) as raised:
        client_of_uri("queue", dict(credentials))
    assert "queue" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@given(some.text())
def test_any_uri_is_opened_or_impossible(uri: str) -> None:
    for text in (uri, f"mysql://{uri}", f"redis://{uri}", f"postgres://{uri}"):
        try:
            client_of_uri("db", {"uri": text})
        except Misconfigured:
            continue


@given(some.text("abcxyz0123456789", min_size=8), some.sampled_from(["mysql", "redis", "postgres"]))
def test_a_password_is_never_an_argument(password: str, scheme: str) -> None:
    opened = client_of_uri("db", {"uri": f"{scheme}://u:{password}@h.test/1"})
    assert not any(password in argument for argument in opened.argv)
    assert password in opened.environment.values()
