"""An isolated app on a running host: it serves, sees nothing of others, and what it has proved outlives the daemon."""

import signal

import pytest

from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS
from tests.support.site import Site, get

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")]

_APP = """
import os
OTHERS = DATABASE, HOMES = PATHS

def attempt(what, path):
    try:
        return what(path)
    except OSError as error:
        return type(error).__name__

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = [attempt(open, DATABASE), attempt(os.listdir, HOMES), attempt(open, "/etc/shadow")]
    seen.append(attempt(lambda path: open(path, "w"), __file__ + ".new"))
    seen.append(os.environ["SHOWN"])
    with open(os.environ["HOME"] + "/kept", "w") as file:
        file.write("kept")
    print("printed", flush=True)
    return [repr(seen).encode()]
"""


def test_an_isolated_app_serves_and_sees_nothing_of_others(site: Site) -> None:
    port, other = a_port(), site.app("other")
    directory = site.root / "apps/shut"
    directory.mkdir()
    paths = (str(site.paths.database), str(site.paths.home("shut").parent))
    site.save(directory / "wsgi.py", _APP.replace("PATHS", repr(paths)))
    loader = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(site.root / "escaped"), "SHOWN": "yes"}
    site.manifest("shut", port=port, isolation="strict", health={"path": "/"}, env=loader)
    daemon = site.live()
    site.await_settled("shut", "other")
    (refused, homes, shadow, written, shown) = eval(get(port))
    assert shown == "yes"
    assert refused == "FileNotFoundError"
    assert homes == ["shut"]
    assert shadow == "PermissionError"
    assert written == "OSError"
    assert not list(site.root.glob("escaped*"))  # nothing of the manifest steers what is not confined yet
    assert (site.paths.home("shut") / "kept").read_text() == "kept"
    assert "printed" in site.paths.log("shut", "app").read_text()
    assert "GET / " in site.paths.log("shut", "access").read_text()
    assert get(other)
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shut"]
    assert row["state"] == "running"
    assert "U (user)" in row["message"]
    pid = site.pid("shut")
    site.end(daemon, signal.SIGKILL)
    site.live()
    site.await_settled("shut")
    assert site.pid("shut") == pid
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shut"]
    assert "U (user)" in row["message"]


def test_what_is_required_and_missing_is_not_started(site: Site) -> None:
    site.app("shut", isolation="strict")
    site.live(isolation_required=("user",))
    eventually(lambda: site.told("shut").get("state") == "failing", 30)
    (row,) = [row for row in site.status()["apps"] if row["name"] == "shut"]
    assert 'isolation requires "user", and it runs as the user of the daemon' in row["message"]
