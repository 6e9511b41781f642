"""Services on a real host: bound, rotated, taken back, killed at every step, and never told to anybody else.

What is true of every type is parametrized by `kinds`: a service's manifest, and what an app finds in its credentials.
"""

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.control.requests import Refused
from reconciler.control.socket import ask
from reconciler.notifications.targets.webhook import Webhook
from reconciler.services.backup_files import backups_in
from reconciler.services.records import ServiceRecords
from reconciler.settings.settings import ServiceServer
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.fakes.post_office import Hook, webhook
from tests.servers.postgresql import PostgresqlServer, postgresql_server
from tests.support.eventually import eventually
from tests.support.hosts import explaining
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get
from tests.support.store import Store

# Says which grant it works with, and everything of its services when asked: /, /vcap, /file/BINDING/KEY.
APP = """\
import json, os

SERVICES = json.loads(os.environ.get("VCAP_SERVICES") or open(os.environ["VCAP_SERVICES_FILE_PATH"]).read())

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    path = environ["PATH_INFO"]
    if path == "/vcap":
        return [json.dumps(SERVICES).encode()]
    if path == "/environ":
        return [json.dumps(dict(os.environ)).encode()]
    if path.startswith("/file/"):
        return [open(os.environ["SERVICE_BINDING_ROOT"] + path[5:]).read().encode()]
    guids = sorted(e["binding_guid"] for entries in SERVICES.values() for e in entries)
    return [json.dumps(guids).encode()]
"""

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
SECRET = "hunter2-" + "5e6f7a8b9c0d"
QUICK: dict[str, Any] = {
    "quiet_s": 0.05,
    "retry_first_s": 0.05,
    "retry_cap_s": 0.2,
    "verify_every_s": 300.0,
    "grace_s": 0.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The fields of a service of some type, and the servers of the host's settings that it needs."""

    fields: dict[str, Any]
    servers: dict[str, ServiceServer] = field(default_factory=dict)

    @property
    def of_type(self) -> str:
        return str(self.fields["type"])

    @property
    def settings(self) -> dict[str, Any]:
        return {**QUICK, "servers": self.servers}


SERVERS = {"postgresql": "postgresql", "mysql": "mysql", "redis": "redis_server", "rabbitmq": "rabbitmq"}
KINDS = ("sqlite", "user-provided", *SERVERS)


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Starts a server of a type when it is first asked for."""
    return lambda of_type: request.getfixturevalue(SERVERS[of_type]).server


def kind_of(of_type: str, site: Site, started: Callable[[str], Any]) -> Asked:
    """A service of a type, and its server, which has the type's name."""
    if of_type == "sqlite":
        return Asked(fields={"type": "sqlite"})
    if of_type == "user-provided":
        (site.manifests / "secret").write_text(SECRET)
        return Asked(fields={"type": "user-provided", "credentials": {"host": "h", "password": {"file": "secret"}}})
    server, password = started(of_type), site.root / f"password-{of_type}"
    password.write_text(server.password.reveal())
    password.chmod(0o600)
    named = ServiceServer(
        name=of_type,
        type=of_type,
        host=server.host,
        port=server.port,
        user=server.user,
        password_file=password,
        options=server.options,
    )
    return Asked(fields={"type": of_type}, servers={of_type: named})


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A daemon that can make services of these types; each test makes its own, by other names."""

    site: Site
    kinds: dict[str, Asked]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, store: Store, started: Callable[[str], Any]) -> Iterator[Host]:
    """One daemon for what is true of every type; a type whose server is not here is left out."""
    site, kinds = Site.at(tmp_path_factory.mktemp("site"), store), {}
    for of_type in KINDS:
        with suppress(pytest.skip.Exception):
            kinds[of_type] = kind_of(of_type, site, started)
    with closing(site):
        site.live(**QUICK, servers={name: server for kind in kinds.values() for name, server in kind.servers.items()})
        yield Host(site=site, kinds=kinds)


@pytest.fixture
def host(request: pytest.FixtureRequest, running: Host) -> Iterator[Host]:
    """That host, which says what happened when a test of it fails."""
    with explaining(running.site, request):
        yield running


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, host: Host) -> Asked:
    """A service of each type, for that host."""
    if request.param not in host.kinds:
        pytest.skip(f"no {request.param} server to test with")
    return host.kinds[request.param]


def service(site: Site, name: str = "db", **fields: Any) -> Path:
    file = site.manifests / f"{name}.yaml"
    site.save(file, yaml.safe_dump({"kind": "service", "name": name, **fields}))
    return file


def app(site: Site, name: str = "blog", **fields: Any) -> int:
    port = int(fields.setdefault("port", a_port()))
    site.source(name)
    site.save(site.root / "apps" / name / "wsgi.py", APP)
    site.manifest(name, **{"services": ["db"], "probation": "0s", **fields})
    return port


def service_records(site: Site) -> ServiceRecords:
    database = open_database(site.paths.database, read_only=True)
    return ServiceRecords(database, Vault(database, site.state / "key"))


def grants(site: Site, name: str | None = None) -> list[str]:
    """The grants of a service; of all without a name."""
    services = service_records(site).services()
    return [grant.id for record in services if name in (None, record.name) for grant in record.grants]


def told(site: Site, name: str = "db") -> dict[str, Any]:
    rows: list[dict[str, Any]] = [row for row in site.status()["services"] if row["name"] == name]
    assert rows, f"no service {name} in status"
    return rows[0]


def is_ready(site: Site, name: str = "db") -> bool:
    row = told(site, name)
    assert row["state"] == "ready", f"{name} is {row['state']}: {row['message']}"
    return True


def vcap(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(port, "/vcap"))
    return found


def test_an_app_reaches_its_service_by_variable_and_by_file(host: Host, kind: Asked) -> None:
    site, db = host.site, f"reached-{kind.of_type}"
    service(site, db, label="thing-1.0", tags=["t"], **kind.fields)
    port = app(site, f"reader-of-{kind.of_type}", services=[{"name": db, "binding_name": "primary"}])
    site.await_settled(f"reader-of-{kind.of_type}")
    (entry,) = vcap(port)["thing-1.0"]
    assert (entry["name"], entry["instance_name"], entry["binding_name"]) == ("primary", db, "primary")
    assert entry["tags"] == ["t"]
    assert ("plan" in entry) == (kind.of_type != "user-provided")
    for key, value in entry["credentials"].items():
        assert get(port, f"/file/primary/{key}") in {value, json.dumps(value)}
    assert get(port, "/file/primary/type") == kind.of_type
    environ = json.loads(get(port, "/environ"))
    root = Path(environ["SERVICE_BINDING_ROOT"])
    assert stat.S_IMODE(root.parent.stat().st_mode) == 0o700
    files = [place for place in root.rglob("*") if place.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o400}
    assert json.loads(Path(environ["VCAP_SERVICES_FILE_PATH"]).read_text()) == vcap(port)
    eventually(lambda: is_ready(site, db))
    assert told(site, db)["apps"] == [f"reader-of-{kind.of_type}"]


def test_a_new_label_is_a_hand_over(host: Host, kind: Asked) -> None:
    site, db, blog = host.site, f"labelled-{kind.of_type}", f"user-of-{kind.of_type}"
    service(site, db, **kind.fields)
    port = app(site, blog, services=[db])
    site.await_settled(blog)
    before = site.pid(blog)
    service(site, db, label="mysql-5.1", **kind.fields)
    site.await_successor(blog, before)
    assert list(vcap(port)) == ["mysql-5.1"]
    assert len(grants(site, db)) == 1


def test_rotation_under_load_fails_no_request_and_takes_the_old_credentials_back(host: Host, kind: Asked) -> None:
    site, db, blog = host.site, f"rotated-{kind.of_type}", f"loaded-on-{kind.of_type}"
    service(site, db, **kind.fields)
    port = app(site, blog, services=[db], workers=2)
    site.await_settled(blog)
    (old,) = grants(site, db)
    with under_load(port) as load:
        load.await_more(20)
        done = site.cli("rotate", db)
        assert done.returncode == 0, done.stderr
        eventually(lambda: old not in grants(site, db))
        load.await_more(20)
    assert load.failed == {}
    (new,) = grants(site, db)
    assert json.loads(get(port)) == [new]
    site.await_settled(blog)


def test_a_backup_that_is_requested_is_made_and_told(site: Site) -> None:
    service(site, type="sqlite")
    service(site, "elsewhere", type="user-provided", credentials={"host": "db"})
    site.live(**QUICK)
    eventually(lambda: len([each for each in service_records(site).services() if each.made]) == 2)
    told = ask(site.paths.control, {"do": "backup", "service": "db"})
    assert told == {"done": "db: backing up; 'reconciler backups db' lists the backup once it is complete"}
    eventually(lambda: backups_in(site.paths.backups))
    (made,) = eventually(lambda: listed(site))
    assert (made["made_by"], Path(made["path"]).is_file()) == ("operator", True)
    eventually(lambda: any(kind == "backup" for _, kind, _ in site.events("service db")))
    assert f"backed up to {made['path']} (requested by " in site.cli("events", "service/db").stdout
    with pytest.raises(Refused, match="type user-provided cannot be backed up: its data belongs to others"):
        ask(site.paths.control, {"do": "backup", "service": "elsewhere"})


def test_other_parameters_are_other_credentials_handed_over(site: Site) -> None:
    service(site, type="sqlite")
    port = app(site, services=[{"name": "db", "parameters": {"role": "reader"}}])
    site.live(**QUICK)
    site.await_settled("blog")
    (old,) = grants(site)
    site.manifest("blog", port=port, probation="0s", services=[{"name": "db", "parameters": {"role": "writer"}}])
    eventually(lambda: old not in grants(site))
    assert json.loads(get(port)) == grants(site)


def test_rotating_for_one_app_leaves_the_other_alone(site: Site) -> None:
    service(site, type="sqlite")
    ports = [app(site), app(site, "shop")]
    site.live(**QUICK)
    site.await_settled("blog", "shop")
    before, pid = [get(port) for port in ports], site.pid("shop")
    assert site.cli("rotate", "db", "blog").returncode == 0
    eventually(lambda: get(ports[0]) != before[0])
    site.await_settled("blog", "shop")
    eventually(lambda: len(grants(site)) == 2)
    assert (get(ports[1]), site.pid("shop")) == (before[1], pid)


def test_an_app_waits_for_a_service_that_no_manifest_asks_for_and_starts_once_one_does(site: Site) -> None:
    port = app(site)
    site.live(**QUICK)
    waiting = {"state": "pending", "message": "waiting: service db: no manifest defines it"}
    eventually(lambda: waiting.items() <= site.told("blog").items())
    service(site, type="sqlite")
    site.await_settled("blog")
    assert vcap(port)["sqlite"]


def test_an_app_that_runs_goes_on_while_another_service_is_not_there(site: Site) -> None:
    service(site, type="sqlite")
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    pid = site.pid("blog")
    site.manifest("blog", port=port, services=["db", "dbs"])
    eventually(lambda: site.told("blog")["state"] == "degraded")
    assert "service dbs: no manifest defines it; did you mean 'db'?" in site.told("blog")["message"]
    assert site.pid("blog") == pid
    os.kill(pid, signal.SIGKILL)
    # What is asked cannot start; what ran last comes back.
    eventually(lambda: site.pid("blog") != pid and len(json.loads(get(port))) == 1)


def test_what_a_service_holds_is_retained_and_taken_back(site: Site) -> None:
    file = service(site, type="sqlite")
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    before = vcap(port)["sqlite"][0]
    path = Path(before["credentials"]["path"])
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE kept (it TEXT)")
    file.unlink()
    (site.manifests / "blog.yaml").unlink()
    eventually(lambda: told(site)["state"] == "retained" and not grants(site))
    assert path.exists()
    service(site, type="sqlite")
    port = app(site)
    site.await_settled("blog")
    after = vcap(port)["sqlite"][0]
    assert after["instance_guid"] == before["instance_guid"]
    assert sqlite3.connect(after["credentials"]["path"]).execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_what_is_not_retained_is_backed_up_and_removed_once_nobody_asks_for_it(site: Site) -> None:
    file = service(site, type="sqlite", retain=False)
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    path = Path(vcap(port)["sqlite"][0]["credentials"]["path"])
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE kept (it TEXT)")
    file.unlink()
    eventually(lambda: "blog still uses it" in told(site)["message"])
    assert path.exists()
    (site.manifests / "blog.yaml").unlink()
    eventually(lambda: not site.status()["services"])
    assert not path.exists()
    (backup,) = (site.state / "backups").iterdir()
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sqlite3.connect(backup).execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_secret_in_a_file_is_watched_and_what_was_known_stays_in_force(site: Site) -> None:
    secret, lines = site.manifests / "token", site.manifests / "more.env"
    port = app(site, services=[], env={"TOKEN": {"file": "token"}, "PLAIN": "p"}, env_files=["more.env"])
    lines.write_text("# lines\nexport MORE='m 1'\nPLAIN=never\n")
    site.live(**QUICK)
    eventually(lambda: f"cannot read {secret}" in site.told("blog")["message"])
    secret.write_text(f"{SECRET}\n")
    site.await_settled("blog")
    environ = json.loads(get(port, "/environ"))
    assert (environ["TOKEN"], environ["MORE"], environ["PLAIN"]) == (SECRET, "m 1", "p")
    before = site.pid("blog")
    site.save(secret, "another")
    site.await_successor("blog", before)
    assert json.loads(get(port, "/environ"))["TOKEN"] == "another"
    before = site.pid("blog")
    secret.unlink()
    eventually(lambda: "serving with the last known values" in site.told("blog")["message"])
    assert site.pid("blog") == before
    site.save(secret, "another")
    site.await_settled("blog")
    assert site.pid("blog") == before


def test_a_file_that_one_app_reads_already_is_read_for_another_and_for_another_variable(site: Site) -> None:
    (site.manifests / "token").write_text(SECRET)
    (site.manifests / "more.env").write_text("MORE=m\n")
    port = app(site, services=[], env={"TOKEN": {"file": "token"}}, env_files=["more.env"])
    site.live(**QUICK)
    site.await_settled("blog")
    before = site.pid("blog")
    site.manifest("blog", port=port, env={"TOKEN": {"file": "token"}, "COPY": {"file": "token"}})
    site.source("shop")
    site.manifest("shop", env_files=["more.env"])
    site.await_successor("blog", before)
    assert json.loads(get(port, "/environ"))["COPY"] == SECRET
    site.await_settled("shop")


def test_past_128_kib_the_file_takes_the_variables_place(site: Site) -> None:
    service(site, type="user-provided", credentials_file="big.json")
    (site.manifests / "big.json").write_text(json.dumps({"certificate": "x" * 200_000}))
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    assert "VCAP_SERVICES" not in json.loads(get(port, "/environ"))
    assert len(vcap(port)["user-provided"][0]["credentials"]["certificate"]) == 200_000
    assert any("the variable is left out" in text for _, kind, text in site.events("blog") if kind == "secrets")


def test_credentials_edited_in_the_manifest_reach_the_app_at_once_and_are_not_called_broken(site: Site) -> None:
    fields: dict[str, Any] = {"type": "user-provided", "tags": ["one"]}
    service(site, **fields, credentials={"host": "h", "password": "first-secret"})
    port = app(site)
    site.live(**{**QUICK, "verify_every_s": 3600.0})
    site.await_settled("blog")
    service(site, **fields, credentials={"host": "h", "password": "other-secret"})
    eventually(lambda: vcap(port)["user-provided"][0]["credentials"]["password"] == "other-secret")
    service(site, type="user-provided", tags=["two"], credentials={"host": "h2"})
    eventually(
        lambda: (
            vcap(port)["user-provided"][0]["credentials"] == {"host": "h2"}
            and vcap(port)["user-provided"][0]["tags"] == ["two"]
        )
    )
    assert not [text for _, kind, text in site.events("service db") if kind == "unhealthy"]


def test_a_command_that_says_something_else_is_found_when_it_is_verified_and_not_called_broken(site: Site) -> None:
    script = site.manifests / "give.sh"
    script.write_text('#!/bin/sh\necho \'{"host": "one"}\'\n')
    script.chmod(0o700)
    service(site, type="user-provided", command=["./give.sh"])
    port = app(site)
    site.live(**{**QUICK, "verify_every_s": 0.2})
    site.await_settled("blog")
    site.save(script, '#!/bin/sh\necho \'{"host": "two"}\'\n')
    script.chmod(0o700)
    eventually(lambda: vcap(port)["user-provided"][0]["credentials"] == {"host": "two"})
    assert not [text for _, kind, text in site.events("service db") if kind == "unhealthy"]


def test_credentials_that_no_longer_open_the_service_are_repaired(site: Site) -> None:
    service(site, type="sqlite")
    port = app(site)
    site.live(**{**QUICK, "verify_every_s": 0.2})
    site.await_settled("blog")
    path = Path(vcap(port)["sqlite"][0]["credentials"]["path"])
    path.unlink()
    eventually(path.exists)
    eventually(lambda: any(kind == "unhealthy" for _, kind, _ in site.events("service db")))
    eventually(lambda: is_ready(site))
    assert len(grants(site)) == 1


def test_a_command_gives_credentials_and_is_bounded(site: Site) -> None:
    script = site.manifests / "give.sh"
    script.write_text(f'#!/bin/sh\necho \'{{"host": "h", "password": "{SECRET}"}}\'\n')
    script.chmod(0o700)
    service(site, type="user-provided", command=["./give.sh"])
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    assert vcap(port)["user-provided"][0]["credentials"] == {"host": "h", "password": SECRET}
    script.write_text("#!/bin/sh\nhead -c 3000000 /dev/zero\n")
    before = site.pid("blog")
    assert site.cli("rotate", "db").returncode == 0
    eventually(lambda: "printed more than 1 MiB" in told(site)["message"])
    script.write_text(
        "#!/bin/sh\npython3 -c 'import json; print(json.dumps(dict.fromkeys(map(str, range(60000)), 1)))'\n"
    )
    eventually(lambda: "it gives 60000 credentials, and 256 are the most" in told(site)["message"])
    script.write_text("#!/bin/sh\npython3 -c 'print(\"[\" * 300000)'\n")
    eventually(lambda: "its command printed no JSON" in told(site)["message"])
    assert site.pid("blog") == before
    assert len(json.loads(get(port))) == 1


# Killed at every step


def lives(site: Site, kind: Asked, step: int, check: Callable[[], bool]) -> Iterator[int]:
    """Daemons that are killed before an ever later effect, until one lives until the check holds.

    Nightly it is each so manieth effect that `step` says, every day one in four of those.
    """
    number = 3
    while True:
        daemon = site.live(Cues(die_at=number), **kind.settings)
        yield number
        if over(daemon, check):
            return
        number += step if NIGHTLY else 4 * step


def over(daemon: Any, check: Callable[[], bool]) -> bool:
    """Wait until the daemon is dead (False) or the check holds (True)."""

    def either() -> str:
        if not daemon.is_alive():
            return "dead"
        try:
            return "held" if check() else ""
        except (AssertionError, OSError, sqlite3.Error, KeyError):
            return ""

    return bool(eventually(either) == "held")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.nightly)])
def killable(request: pytest.FixtureRequest, site: Site, started: Callable[[str], Any]) -> Asked:
    """One type that is made here, and one that is made on a server; what each does there, its own tests kill."""
    return kind_of(request.param, site, started)


def test_killed_at_any_effect_of_provisioning_and_binding_there_is_one_service_and_one_grant(
    site: Site, killable: Asked
) -> None:
    service(site, "other", **killable.fields)
    site.live(**killable.settings)
    eventually(lambda: is_ready(site, "other"))
    site.end(site.daemons[-1])
    service(site, **killable.fields)
    port = app(site)
    for _ in lives(site, killable, 5, lambda: site.settled("blog") and is_ready(site)):
        pass
    (record,) = service_records(site).of("db")
    (grant,) = record.grants
    assert json.loads(get(port)) == [grant.id]
    assert {place.name for place in (site.state / "services" / "db").iterdir()} == {record.id}


def test_killed_at_any_effect_of_a_rotation_one_grant_is_left_and_the_app_serves_with_it(
    site: Site, killable: Asked
) -> None:
    service(site, **killable.fields)
    port = app(site)
    site.live(**killable.settings)
    site.await_settled("blog")
    (old,) = grants(site)
    assert site.cli("rotate", "db").returncode == 0
    site.end(site.daemons[-1], signal.SIGKILL)
    for _ in lives(
        site, killable, 4, lambda: grants(site) != [old] and len(grants(site)) == 1 and site.settled("blog")
    ):
        pass
    assert json.loads(get(port)) == grants(site) != [old]


def test_killed_at_any_effect_of_removal_nothing_is_left_of_it(site: Site, killable: Asked) -> None:
    file = service(site, retain=False, **killable.fields)
    app(site)
    site.live(**killable.settings)
    site.await_settled("blog")
    site.end(site.daemons[-1])
    file.unlink()
    (site.manifests / "blog.yaml").unlink()
    for _ in lives(site, killable, 3, lambda: not site.status()["services"]):
        pass
    assert not service_records(site).services()
    assert not (site.state / "services" / "db").exists()
    backups = [place for place in (site.state / "backups").iterdir() if not place.name.startswith(".")]
    assert backups
    assert all(backup.stat().st_size for backup in backups)


def settings_of(server: PostgresqlServer, site: Site) -> ServiceServer:
    """What the settings of the host say of a server, with its password in a file."""
    password = site.root / "password"
    password.write_text(server.password)
    return ServiceServer(name="main", type="postgresql", port=server.port, user="admin", password_file=password)


def test_a_server_that_is_down_stops_nobody_who_runs_and_is_waited_for_by_who_does_not(site: Site) -> None:
    with postgresql_server() as server:
        main = settings_of(server, site)
        service(site, type="postgresql")
        port = app(site)
        site.live(**{**QUICK, "verify_every_s": 0.2, "servers": {"main": main}})
        site.await_settled("blog")
        before = site.pid("blog")
        server.stop()
        eventually(lambda: told(site)["state"] == "failing")
        eventually(lambda: site.told("blog")["message"].startswith("service db is down: postgresql server main"))
        assert site.told("blog")["state"] == "degraded"
        app(site, "shop")
        eventually(lambda: re.search("waiting: service db: .*postgresql", site.told("shop")["message"]))
        assert (site.pid("blog"), len(json.loads(get(port)))) == (before, 1)
        server.start()
        site.await_settled("blog", "shop")
        assert site.pid("blog") == before
        # A password that somebody changed on the server is set right, and nobody has to be handed over.
        (user,) = [g.user for record in service_records(site).services() for g in record.grants if g.app == "blog"]
        server.ask(f"ALTER ROLE {user} PASSWORD 'another'")
        eventually(lambda: any(kind == "unhealthy" for _, kind, _ in site.events("service db")))
        eventually(lambda: is_ready(site))
        assert site.pid("blog") == before


def test_a_release_that_failed_as_the_server_was_down_is_tried_again_once_it_is_back(site: Site) -> None:
    with postgresql_server() as server:
        main = settings_of(server, site)
        service(site, type="postgresql")
        port = app(site)
        site.live(**{**QUICK, "servers": {"main": main}})
        site.await_settled("blog")
        server.stop()
        # The daemon does not know yet that the server is down.
        reach = f"""python -c "import socket; socket.create_connection(('127.0.0.1', {server.port}))\""""
        site.manifest("blog", services=["db"], probation="0s", port=port, release=reach)
        eventually(lambda: "tried again once the service has recovered" in site.told("blog")["message"])
        server.start()
        site.await_settled("blog")
        assert [kind for _, kind, _ in site.events("blog")].count("released") == 1


def test_a_service_that_was_never_provisioned_is_not_retained(site: Site) -> None:
    missing = site.root / "no such password"
    main = ServiceServer(name="main", type="postgresql", port=a_port(), user="admin", password_file=missing)
    file = service(site, type="postgresql")
    site.live(**{**QUICK, "servers": {"main": main}})
    eventually(lambda: told(site)["state"] == "failing")
    file.unlink()
    eventually(lambda: not site.status()["services"])


@pytest.mark.nightly
def test_fifty_services_are_made_at_once(site: Site, started: Callable[[str], Any]) -> None:
    kind = kind_of("postgresql", site, started)
    names = [f"db-{number}" for number in range(50)]
    for name in names:
        service(site, name, type="postgresql")
    port = app(site, services=names)
    site.live(**kind.settings)
    site.await_settled("blog", within=120)
    assert len(vcap(port)["postgresql"]) == 50


# Secrets


def test_no_secret_is_to_be_found_anywhere_but_with_the_app(host: Host) -> None:
    site = host.site
    (site.manifests / "token").write_text(f"token-{SECRET}")
    names = [f"secret-{of_type}" for of_type in host.kinds]
    for name, kind in zip(names, host.kinds.values(), strict=True):
        service(site, name, **kind.fields)
    port = app(site, "spy", services=names, env={"TOKEN": {"file": "token"}})
    site.await_settled("spy")
    secrets = {SECRET, f"token-{SECRET}", *passwords(site)}
    assert f"token-{SECRET}" in get(port, "/environ")
    before = grants(site)
    for name in names:
        assert site.cli("rotate", name).returncode == 0
    eventually(lambda: not {grant for name in names for grant in grants(site, name)} & {*before})
    secrets |= passwords(site)
    shown = [site.cli(*words).stdout for words in (("status", "--json"), ("events",), ("services",), ("env", "spy"))]
    shown += [place.read_text(errors="replace") for place in site.state.rglob("*.log")]
    shown += [site.console.read_text()]
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            shown.append(place.read_text(errors="replace"))
        except OSError:
            continue
    with sqlite3.connect(site.paths.database) as database:
        shown += database.iterdump()
    for place in site.state.rglob("*"):
        if place.is_file() and place.stat().st_mode & 0o077:
            parents = [p for p in place.parents if p.is_relative_to(site.state)]
            if all(p.stat().st_mode & 0o011 for p in parents):
                shown.append(place.read_text(errors="replace"))
    assert len(secrets) > 2 * len(names)
    for secret in secrets:
        assert not [text for text in shown if secret in text]


def passwords(site: Site) -> set[str]:
    """Those of every grant there is."""
    records = service_records(site)
    return {records.password(grant.id).reveal() for record in records.services() for grant in record.grants}


def test_without_its_key_nothing_new_is_drawn_and_what_runs_goes_on(site: Site) -> None:
    service(site, type="sqlite")
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    site.end(site.daemons[-1])
    key = site.state / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.rename(site.root / "elsewhere")
    app(site, "shop")
    site.live(**QUICK)
    eventually(lambda: f"the key {key} is missing" in site.told("shop")["message"])
    assert json.loads(get(port)) == grants(site)
    assert not key.exists()
    (site.root / "elsewhere").rename(key)
    site.await_settled("blog", "shop")


def test_a_new_key_changes_nothing_that_runs(site: Site) -> None:
    service(site, type="sqlite")
    app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    before, pid = (site.state / "key").read_text(), site.pid("blog")
    done = site.cli("rekey")
    assert done.returncode == 0, done.stderr
    assert (site.state / "key").read_text() != before
    assert site.cli("rotate", "db").returncode == 0
    site.await_successor("blog", pid)


def test_a_service_outlives_the_loss_of_the_state_database(site: Site) -> None:
    service(site, type="sqlite")
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    before = vcap(port)["sqlite"][0]
    site.end(site.daemons[-1])
    for place in site.state.glob("reconciler.db*"):
        place.unlink()
    site.live(**QUICK)
    eventually(lambda: get(port) != json.dumps([before["binding_guid"]]))
    site.await_settled("blog")
    assert vcap(port)["sqlite"][0]["instance_guid"] == before["instance_guid"]


# The command line


def test_a_backup_is_restored_while_the_app_runs(site: Site, tmp_path: Path) -> None:
    service(site, type="sqlite")
    port = app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    path = vcap(port)["sqlite"][0]["credentials"]["path"]
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE kept (it TEXT)")
    file = tmp_path / "backup"
    assert site.cli("backup", "db", str(file)).returncode == 0
    assert site.cli("backup", "db", str(file)).returncode == 1
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE kept")
    assert "add --yes" in site.cli("restore", "db", str(file)).stderr
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert site.cli("restore", "db", str(file), "--yes").returncode == 0
    assert sqlite3.connect(path).execute("SELECT count(*) FROM kept").fetchone() == (0,)
    words = [sys.executable, "-m", "reconciler", "service-shell", "--state", str(site.state), "db"]
    for separator in ((), ("--",)):
        shell = subprocess.run(
            [*words, *separator, "select name from sqlite_master"],
            capture_output=True, text=True, cwd=REPOSITORY, check=True,
        )  # fmt: skip
        assert "kept" in shell.stdout


def test_a_service_is_backed_up_by_its_schedule_and_says_when_that_fails_and_is_well_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with webhook() as hook:
        _backed_up_by_its_schedule(site, hook)


def _backed_up_by_its_schedule(site: Site, hook: Hook) -> None:
    settings = {**QUICK, "notifications": (Webhook(url=hook.url),), "notify_delay_s": 0.0, "notify_every_s": 0.0}
    service(site, type="sqlite", backup={"every": "1h", "keep": 2})
    at_once = Cues(backing_up_at_once=True)
    site.live(at_once, **settings)
    backups = site.state / "backups"
    eventually(lambda: backups_in(backups))
    (first,) = eventually(lambda: listed(site))
    assert first["made_by"] == "schedule"
    assert (stat.S_IMODE(backups.stat().st_mode), stat.S_IMODE(Path(first["path"]).stat().st_mode)) == (0o700, 0o600)
    assert site.cli("verify-backup", "db").returncode == 0
    assert listed(site)[0]["verification"]["counted"] == {"tables": 0, "rows": 0}
    # Three days without a daemon, then a place where nothing can be written: one backup is due, and it fails.
    site.end(site.daemons[-1])
    aged = [Path(first["path"]).with_name(f"db-{first['id']}-2020010{day}T000000Z-schedule.sqlite") for day in "123"]
    for copy in aged:
        copy.write_bytes(Path(first["path"]).read_bytes())
    Path(first["path"]).unlink()
    file = next((site.state / "services" / "db").glob("*/db.sqlite3"))
    database = file.read_bytes()
    file.write_bytes(b"no database" * 1000)
    site.live(at_once, **settings)
    eventually(lambda: told(site)["state"] == "degraded" and told(site)["reason"] == "backup-failed", within=30)
    assert "its backup failed: cannot back up db" in told(site)["message"]
    assert [Path(row["path"]) for row in listed(site)] == [*reversed(aged)][:2]
    eventually(lambda: notified(hook) == ["degraded"])
    assert "its backup failed: cannot back up db" in hook.taken[0]["items"][0]["message"]
    assert metric(site, "reconciler_service_backup_failures_total") == 1
    # Killed, and a database is there again: the next daemon knows of the failure until it is over.
    site.end(site.daemons[-1], signal.SIGKILL)
    (backups / ".draft-backup-left").mkdir()
    file.write_bytes(database)
    site.live(at_once, **settings)
    eventually(lambda: told(site)["state"] == "ready" and len(backups_in(backups)) == 2)
    eventually(lambda: notified(hook) == ["degraded", "healthy"])
    assert metric(site, "reconciler_service_last_backup_timestamp_seconds") == listed(site)[0]["at"]
    assert metric(site, "reconciler_service_backup_failures_total") == 0
    assert listed(site)[0]["path"] not in map(str, aged)
    eventually(lambda: not (backups / ".draft-backup-left").exists())
    told_of = [kind for subject, kind, _ in site.events() if subject == "service db"]
    assert [kind for kind in told_of if kind in {"backup", "failed", "recovered"}] == [
        "backup", "backup", "failed", "backup", "recovered",  # the second one tells of the verification
    ]  # fmt: skip


def notified(hook: Hook) -> list[str]:
    """The states of the service that were told."""
    return [item["state"] for message in hook.taken for item in message["items"] if item["service"] == "db"]


def metric(site: Site, name: str) -> float:
    """A metric of the service."""
    (line,) = [line for line in site.cli("metrics").stdout.splitlines() if line.startswith(f'{name}{{service="db"}}')]
    return float(line.rpartition(" ")[2])


def listed(site: Site) -> list[dict[str, Any]]:
    """What `backups --json` says of the service."""
    listing = site.cli("backups", "db", "--json")
    assert listing.returncode == 0, listing.stderr  # the daemon may still be making its database
    found: list[dict[str, Any]] = json.loads(listing.stdout)
    return found


def test_a_verification_that_is_killed_leaves_nothing_that_stays(site: Site) -> None:
    """A directory that names the service, which nothing holds, is what such a one leaves."""
    service(site, type="sqlite")
    app(site)
    site.live(**QUICK)
    site.await_settled("blog")
    assert site.cli("backup", "db").returncode == 0
    (row,) = listed(site)
    left = site.state / "backups" / f".draft-verify-{row['id']}-0a0b0c0d"
    left.mkdir()
    (left / "restored.sqlite3").write_bytes(b"half")
    assert site.cli("gc").returncode == 0
    assert not left.exists()
    assert [each["path"] for each in listed(site)] == [row["path"]]


def test_plan_says_what_would_be_done_about_services(site: Site) -> None:
    service(site, type="sqlite")
    app(site)
    planned = site.cli("plan", "--json")
    facts = json.loads(planned.stdout)
    assert [row["name"] for row in facts["services"]] == ["db"]
    assert facts["services"][0]["actions"][0]["action"] == "Register"
    assert "waiting: service db" in facts["apps"][0]["message"]
