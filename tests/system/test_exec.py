"""An app in the foreground: `exec` prepares it as the daemon would, and becomes its program, under no daemon."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get, is_refused

pytestmark = pytest.mark.system

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Iterator[Run]:
    """Start `reconciler exec`, with its streams in files; what still runs at the end is killed with all it started."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, **env: str) -> "subprocess.Popen[str]":
        with (tmp_path / "out").open("a") as out, (tmp_path / "err").open("a") as err:
            begun = subprocess.Popen(
                [sys.executable, "-m", "reconciler", "exec", "--manifests", str(site.manifests), "--state",
                 str(site.state), *words],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, text=True, cwd=REPOSITORY,
                env={**os.environ, **env}, start_new_session=True,
            )  # fmt: skip
        started.append(begun)
        return begun

    yield begin
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)
        each.wait()


@pytest.fixture
def printed(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: (tmp_path / name).read_text()


_FINISHING = """\
import json, os, pathlib, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/env":
        return [json.dumps(dict(os.environ)).encode()]
    if environ["PATH_INFO"] == "/finish":
        pathlib.Path(os.environ["HOME"], "begun").touch()
        time.sleep(1)
    return [b"1"]
"""


def serves(port: int, version: str) -> Callable[[], bool]:
    return lambda: not is_refused(port) and get(port) == version


def test_exec_becomes_the_web_server_with_its_services_and_ends_once_requests_are_done(
    site: Site, run: Run, printed: Callable[[str], str]
) -> None:
    site.save(site.manifests / "db.yaml", "kind: service\nname: db\ntype: sqlite\n")
    site.app("shop", services=["db"], workers=2, release="python -c 'print(1)'", health={"path": "/"}, env={"A": "b"})
    site.save(site.root / "apps" / "shop" / "wsgi.py", _FINISHING)
    port = a_port()
    web = run("shop", PORT=str(port))
    eventually(serves(port, "1"), within=120)
    held = json.loads(get(port, "/env"))
    (bound,) = json.loads(held["VCAP_SERVICES"])["sqlite"]
    assert (bound["name"], held["PORT"], held["A"]) == ("db", str(port), "b")
    assert Path(held["SERVICE_BINDING_ROOT"], "db", "type").read_text() == "sqlite"
    assert "RECONCILER_STATE_ID" not in held

    said: list[str] = []
    begun = site.paths.home("shop") / "begun"
    asking = threading.Thread(target=lambda: said.append(get(port, "/finish", within=60)))
    asking.start()
    eventually(begun.exists)
    web.send_signal(signal.SIGTERM)
    asking.join()
    assert (said, web.wait(120)) == (["1"], 0)
    assert "GET /env" in printed("out")
    assert "Listening at" in printed("err")
    assert [text for _, kind, text in site.events("shop") if kind == "released"] != []


def test_exec_exits_with_3_where_the_app_is_not_ready_in_time(
    site: Site, run: Run, printed: Callable[[str], str]
) -> None:
    site.app("shop", health={"path": "/", "start_timeout": "1s"})
    site.save(
        site.root / "apps" / "shop" / "wsgi.py",
        "def application(environ, start_response):\n    start_response('503 No', [])\n    return [b'no database']\n",
    )
    assert run("shop").wait(120) == 3
    assert "gave up after 1 s: GET / " in printed("err")


def test_exec_starts_nothing_where_the_release_command_fails(
    site: Site, run: Run, printed: Callable[[str], str]
) -> None:
    port = site.app("shop", release="python -c 'raise SystemExit(\"no such table\")'")
    assert run("shop").wait(120) == 1
    assert "cannot run shop" in printed("err")
    assert "no such table" in printed("err")
    assert is_refused(port)
    assert run("shop", "--no-release", "--", "python", "-c", "raise SystemExit(7)").wait(120) == 7


def test_exec_becomes_a_process_that_ends_by_its_signal(site: Site, run: Run, printed: Callable[[str], str]) -> None:
    code = 'import os, signal, time; print(os.environ.get("PORT"), os.environ["B"], flush=True); time.sleep(600)'
    site.app("shop", processes={"worker": {"command": ["python", "-c", code], "env": {"B": "c"}}})
    worker = run("shop", "--process", "worker")
    eventually(lambda: printed("out") == "None c\n", within=120)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(120) == -signal.SIGTERM
    assert run("shop", "--process", "beat").wait(120) == 1
    assert "shop has no process 'beat'; it has worker" in printed("err")


def test_what_others_run_and_what_runs_elsewhere_stays_as_it_is(site: Site, run: Run) -> None:
    site.save(site.manifests / "db.yaml", "kind: service\nname: db\ntype: sqlite\n")
    first, second = site.app("blog", services=["db"]), site.app("shop", "1")
    blog, shop = run("blog"), run("shop")
    eventually(serves(first, "1"), within=120)
    eventually(serves(second, "1"), within=120)
    (kept,) = site.paths.builds("blog").iterdir()
    (old,) = site.paths.builds("shop").iterdir()
    (data,) = (site.state / "services" / "db").iterdir()
    (site.manifests / "blog.yaml").unlink()
    (site.manifests / "db.yaml").unlink()
    site.source("shop", "2")
    assert run("shop", "--", "true").wait(120) == 0
    assert kept.is_dir()
    assert data.is_dir()
    assert old.is_dir()
    assert (get(first), get(second)) == ("1", "1")
    shop.send_signal(signal.SIGTERM)
    assert shop.wait(120) == 0
    assert run("shop", "--", "true").wait(120) == 0
    assert not old.exists()
    blog.send_signal(signal.SIGTERM)
    assert blog.wait(120) == 0


def test_the_state_directory_of_a_daemon_is_refused(site: Site, run: Run, printed: Callable[[str], str]) -> None:
    port = site.app("shop")
    site.start()
    eventually(serves(port, "1"), within=120)
    assert run("shop", "--bind", str(a_port())).wait(120) == 1
    assert "it runs its apps by itself; name another directory with --state" in printed("err")
    assert get(port) == "1"


def test_two_that_stage_at_once_wait_for_each_other(site: Site, run: Run) -> None:
    site.app("blog")
    site.app("shop")
    both = [run(name, "--", "true") for name in ("blog", "shop")]
    assert [each.wait(120) for each in both] == [0, 0]


def test_exec_says_that_it_isolates_nothing_and_runs_nothing_where_isolation_is_required(
    site: Site, run: Run, printed: Callable[[str], str], tmp_path: Path
) -> None:
    site.app("shut", isolation="strict")
    asked = ("shut", "--", "python", "-c", "print('ran')")
    assert run(*asked).wait(60) == 0
    assert printed("out").splitlines()[-1] == "ran"
    assert "warning: shut asks for isolation, and 'exec' isolates nothing" in printed("err")
    settings = tmp_path / "host.yaml"
    settings.write_text("isolation: {default: strict, require: [files]}\n")
    assert run("--settings", str(settings), *asked).wait(60) != 0
    assert printed("out").count("ran") == 1
    assert "isolation requires files (isolation.require of the host's settings)" in printed("err")
