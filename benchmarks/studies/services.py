"""What a service on PostgreSQL costs: our provision and bind beside the bare SQL statements that make the same.

Then the whole way: the manifests of a service and of an app bound to it dropped, until the app answers with its
database's name; beside the bare statements and gunicorn by hand, whose environment is there already.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import Callable, Sequence

from psycopg import sql

from benchmarks.bench import Bench, bench
from benchmarks.clients import free_ports, seconds_to_200
from benchmarks.gunicorn import gunicorn_by_hand
from benchmarks.machine import described
from benchmarks.printed import summary, verdict
from reconciler.services.provisioner import ServiceSpec
from reconciler.services.types.postgresql.provisioner import Postgresql
from tests.servers.asked import a_grant, a_service
from tests.servers.postgresql import PostgresqlServer, postgresql_server

_ROUNDS = 25
_DROPS = 15
_AT_MOST = 1.5
_APP = """import json, os
NAME = json.loads(os.environ["VCAP_SERVICES"])["postgresql"][0]["credentials"]["name"].encode()
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(NAME)))])
    return [NAME]
"""


def ours(server: PostgresqlServer) -> float:
    """Seconds of provision and bind, each with a connection of its own, as the daemon does it."""

    async def story(service: ServiceSpec) -> None:
        await Postgresql().provision(service)
        await Postgresql().bind(service, a_grant())

    began = time.perf_counter()
    asyncio.run(story(a_service(server.server)))
    return time.perf_counter() - began


def bare(server: PostgresqlServer) -> float:
    """Seconds of the same by hand: one connection, six statements, no look at what is there."""
    drawn = secrets.token_hex(6)
    owner, user = sql.Identifier(f"blog_db_{drawn}"), sql.Identifier(f"blog_{drawn}")
    began = time.perf_counter()
    with server.connect() as connection:
        for statement in (
            sql.SQL("CREATE ROLE {owner} NOLOGIN"),
            sql.SQL("CREATE DATABASE {owner} OWNER {owner} TEMPLATE template0"),
            sql.SQL("REVOKE ALL ON DATABASE {owner} FROM PUBLIC"),
            sql.SQL("CREATE ROLE {user} LOGIN PASSWORD {password}"),
            sql.SQL("GRANT {owner} TO {user}"),
            sql.SQL("ALTER ROLE {user} IN DATABASE {owner} SET role = {owner}"),
        ):
            connection.execute(statement.format(owner=owner, user=user, password=sql.Literal(secrets.token_urlsafe())))
    return time.perf_counter() - began


def dropped(here: Bench, number: int, port: int) -> float:
    """Seconds from the two manifests to the first answer of the bound app."""
    began = time.perf_counter()
    here.drop(f"db-{number}", f"kind: service\nname: db-{number}\ntype: postgresql\nretain: false\n")
    here.drop(f"app-{number}", f"path: {here.app}\nport: {port}\nservices: [db-{number}]\n")
    return seconds_to_200(port, began)


def by_hand(server: PostgresqlServer, here: Bench, port: int) -> float:
    """Seconds of the bare statements, and of a gunicorn that is told their outcome."""
    made = bare(server)
    with gunicorn_by_hand(here.environment_python(), here.directory / "plain", port) as began:
        return made + seconds_to_200(port, began)


def the_whole_way(server: PostgresqlServer) -> bool:
    asked = server.server
    assert asked.password is not None
    with bench() as here:
        (here.directory / "plain").mkdir()
        (here.app / "wsgi.py").rename(here.directory / "plain" / "wsgi.py")
        (here.app / "wsgi.py").write_text(_APP)
        (here.directory / "password").write_text(asked.password.reveal())
        where = f"{{type: postgresql, port: {asked.port}, user: {asked.user}, password: {{file: password}}}}"
        settings = here.directory / "host.yaml"
        settings.write_text(f"services: {{servers: {{main: {where}}}}}\n")
        here.start("--settings", str(settings))
        ports = free_ports(2 * _DROPS + 2)
        dropped(here, 0, ports.pop())  # the environment and the template are there from here on
        by_hand(server, here, ports.pop())
        took: dict[str, list[float]] = {"dropped": [], "by hand": []}
        for number in range(1, _DROPS + 1):
            took["dropped"].append(dropped(here, number, ports.pop()))
            took["by hand"].append(by_hand(server, here, ports.pop()))
    for name, seconds in took.items():
        print(f"{name}: {summary(seconds)}")
    ratio = statistics.median(took["dropped"]) / statistics.median(took["by hand"])
    return verdict("manifests to bound and running, beside the bare statements and gunicorn by hand", ratio, _AT_MOST)


def main(_arguments: Sequence[str]) -> int:
    print(described())
    ways: dict[str, Callable[[PostgresqlServer], float]] = {"ours": ours, "bare": bare}
    took: dict[str, list[float]] = {name: [] for name in ways}
    with postgresql_server(fsync="on", full_page_writes="on", log_statement="none") as server:
        for way in ways.values():
            way(server)
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                took[name].append(way(server))
        whole = the_whole_way(server)
    for name, seconds in took.items():
        print(f"{name}: {summary(seconds)}")
    ratio = statistics.median(took["ours"]) / statistics.median(took["bare"])
    return 0 if verdict("provision and bind beside the bare statements", ratio, _AT_MOST) and whole else 1
