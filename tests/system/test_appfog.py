"""An app as it was written for AppFog in 2012: Python 2, bottle, `mysql-5.1` in VCAP_SERVICES; not a line changed."""

import pytest
import yaml

from tests.servers.mysql import mysql_server
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import Site, get

pytestmark = pytest.mark.network

WSGI = """
import json
import os

import bottle
import pymysql

services = json.loads(os.environ.get("VCAP_SERVICES", "{}"))
mysql = services["mysql-5.1"][0]["credentials"]


def connect():
    return pymysql.connect(
        host=mysql["hostname"], port=mysql["port"], user=mysql["user"], passwd=mysql["password"], db=mysql["name"]
    )


@bottle.route("/")
def visits():
    database = connect()
    cursor = database.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS visits (id INT AUTO_INCREMENT PRIMARY KEY)")
    cursor.execute("INSERT INTO visits VALUES ()")
    cursor.execute("SELECT COUNT(*) FROM visits")
    print "visited"
    database.commit()
    return str(cursor.fetchone()[0])


application = bottle.default_app()
"""


def test_an_app_of_2012_finds_its_database(site: Site) -> None:
    port = a_port()
    source = site.root / "apps" / "visits"
    source.mkdir(parents=True)
    (source / "wsgi.py").write_text(WSGI)
    (source / "requirements.txt").write_text("bottle==0.12.25\nPyMySQL==0.10.1\n")
    app = {"path": str(source), "runtime": "python2", "services": ["visits-db"], "port": port}
    service = {"kind": "service", "name": "visits-db", "type": "mysql", "label": "mysql-5.1"}
    site.save(site.manifests / "visits.yaml", yaml.safe_dump(app))
    site.save(site.manifests / "visits-db.yaml", yaml.safe_dump(service))
    with mysql_server() as started:
        server = started.server
        assert server.password is not None
        password = site.root / "password"
        password.write_text(server.password.reveal())
        named = {"type": "mysql", "host": server.host, "port": server.port, "user": server.user}
        settings = site.root / "host.yaml"
        settings.write_text(
            yaml.safe_dump({"services": {"servers": {"main": {**named, "password": {"file": str(password)}}}}})
        )
        site.start("--settings", str(settings))
        site.await_settled("visits", within=180)
        assert [get(port), get(port)] == ["1", "2"]
        eventually(lambda: "visited" in (site.paths.log("visits", "app")).read_text())
        site.end(site.daemons[-1])
