"""Starts that fail or take long, on real gunicorns: each says why, where in the app, and in time."""

import asyncio
import os
import re
import signal
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent, indent

import pytest

from reconciler.inspection.log_tail import tail
from reconciler.linux.listing import names_in
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Health, Server
from reconciler.serving import failed_start, instances, live_instance
from tests.contract.machine import Machine, a_life, burial, on_the_loop, start_of
from tests.support.eventually import at_leisure, soon
from tests.support.site import Site, get
from tests.world import address_of

_OK = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""
_WARMING = {
    "wsgi": """
        import time
        asked = []
        def application(environ, start_response):
            asked.append(1)
            time.sleep(5 if len(asked) == 1 else 0)
            start_response("503 Not Yet" if len(asked) == 2 else "200 OK", [])
            return [b"asked %d times" % len(asked)]
        """,
    "asgi": """
        import asyncio
        asked = []
        async def application(scope, receive, send):
            assert scope["type"] == "http"
            asked.append(1)
            await asyncio.sleep(5 if len(asked) == 1 else 0)
            await send({"type": "http.response.start", "status": 503 if len(asked) == 2 else 200, "headers": []})
            await send({"type": "http.response.body", "body": b"asked %d times" % len(asked)})
        """,
}
_FAILING = {
    "an exception": (
        "import os\n\nos.environ['STRIPE_KEY']\n",
        "KeyError: 'STRIPE_KEY' (wsgi.py:3); set it under `env` in the manifest",
    ),
    "a mistake in the syntax": ("import os\ndef broken(:\n    pass\n", "SyntaxError: invalid syntax (wsgi.py:2)"),
    "sys.exit": (
        "import sys\nsys.exit('no DATABASE_URL')\n",
        "it ended its own process while it was imported, by sys.exit: no DATABASE_URL (wsgi.py:2)",
    ),
    "an exit without a word": (
        "import os\nprint('bye')\nos._exit(0)\n",
        "a worker exited with 0 before it was ready; it said: bye",
    ),
    "a crash": (
        "import ctypes\nctypes.string_at(0)\n",
        "a worker was ended by SIGSEGV before it was ready, at wsgi.py:2",
    ),
    "a kill": (
        "import os\nprint('eats memory')\nos.kill(os.getpid(), 9)\n",
        "a worker was ended by SIGKILL before it was ready; it said: eats memory",
    ),
    "a factory that is not called": (
        "def application():\n    return None\n",
        "application() takes no arguments, so it is no application: if it returns one, set entrypoint to "  # noqa: ISC004
        "wsgi:application()",
    ),
    "an object that is no application": (
        "class Shop:\n    def __call__(self, request):\n        pass\n\napplication = Shop()\n",
        "the Shop object is no application: it cannot be called with the 2 arguments of WSGI",
    ),
    "a server of its own": (
        "import socketserver\nserver = socketserver.TCPServer(('127.0.0.1', 0), None)\nserver.serve_forever()\n",
        "it was not ready within 15 s: it starts a server of its own while it is imported, at wsgi.py:3: do that "  # noqa: ISC004
        "only below if __name__ == '__main__'",
    ),
}


def write(app: App, text: str, name: str = "wsgi.py") -> None:
    directory = Path(app.source.path)
    (directory / "wsgi.py").unlink()
    (directory / name).write_text(dedent(text))


async def failure(machine: Machine, app: App) -> str:
    """Why the start of an app that is staged failed."""
    await machine.do(start_of(app.revision(machine.content())))
    (failed,) = machine.seen().failures
    return failed.reason


def log(site: Site) -> str:
    return site.paths.log("blog", "app").read_text()


@pytest.mark.parametrize("what", _FAILING)
@on_the_loop
async def test_what_ends_an_import_is_told_with_its_place_at_the_first_worker_and_is_one_line_of_logs(
    site: Site, what: str
) -> None:
    text, expected = _FAILING[what]
    with a_life(site) as machine:
        app = machine.app(server=Server(start_timeout_s=15.0 if "server" in what else 60.0))
        write(app, text + "\napplication = None\n" if "application" not in text else text)
        await machine.staged(app)
        assert await failure(machine, app) == f"{expected}; more in 'reconciler logs blog'"
        assert log(site).count("Booting worker") == 1
        assert machine.seen().instances == ()
    if "server" not in what:  # which is ended from outside, and leaves nothing in the log that tells of it
        lines = tail(site.paths.log("blog", "app"), 100, fold=True)
        *said, folded = [line for line in lines if "reconciler: not ready: " not in line]  # as a slow one has
        assert re.fullmatch(rf"{re.escape(expected.partition('; ')[0])}.*  \[\d+ lines folded\]", folded)
        assert all(line in text or "[INFO]" in line for line in said), said  # what the app has printed, after its start
    await soon(lambda: site.marked() == set())


@on_the_loop
async def test_a_start_lists_what_its_workers_wrote_once_as_they_tell_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = list[Path]()

    def counted(directory: Path, most: int) -> list[str]:
        listed.append(directory)
        return names_in(directory, most)

    monkeypatch.setattr(live_instance, "names_in", counted)
    monkeypatch.setattr(failed_start, "names_in", counted)
    monkeypatch.setattr(instances, "_SECOND_LOOK_S", 60.0)  # a slow machine takes no second look
    with a_life(site) as machine:
        app = machine.app()
        await machine.started(app)
        (instance,) = machine.seen().instances
        assert (instance.ready, len(listed)) == (True, 1)


@on_the_loop
async def test_a_start_that_fails_on_the_python_that_was_chosen_says_so_and_no_other_does(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        write(app, "import collections\ncollections.Mapping\napplication = None\n")
        await machine.staged(app)
        told = await failure(machine, app)
    assert told.startswith("AttributeError: module 'collections' has no attribute 'Mapping' (wsgi.py:2); more in ")
    assert "which neither the app nor its manifest names: `runtime: python3." in told


@on_the_loop
async def test_a_build_that_cannot_start_because_its_environment_is_damaged_is_staged_again(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        write(app, f"import gunicorn.instrument.statsd\n{_OK}")
        await machine.staged(app)
        (damaged,) = site.paths.environments.glob("*/lib/python3*/site-packages/gunicorn/instrument/statsd.py")
        damaged.unlink()
        told = await failure(machine, app)
        assert told.startswith("ModuleNotFoundError: No module named 'gunicorn.instrument.statsd' (wsgi.py:1)")
        assert told.endswith("; its environment is damaged, and is created again")
        await machine.started(app)
        assert get(address_of(app).port) == "ok"


@on_the_loop
async def test_the_log_of_a_failed_import_holds_the_apps_own_traceback_and_no_word_of_gunicorns(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        write(app, "def shop():\n    return 1 / 0\n\nshop()\napplication = None\n")
        await machine.staged(app)
        assert (await failure(machine, app)).startswith("ZeroDivisionError: division by zero (wsgi.py:2)")
    lines = [line for line in log(site).splitlines() if line.startswith("  File ")]
    assert [line.rpartition("/")[2] for line in lines] == ['wsgi.py", line 4, in <module>', 'wsgi.py", line 2, in shop']
    assert "configuration file" not in log(site)


@on_the_loop
async def test_a_decorated_application_is_called_as_what_the_decorator_returns(site: Site) -> None:
    text = """
        import functools

        def responds(function):
            @functools.wraps(function)
            def application(*args):
                environ, start_response = args
                start_response("200 OK", [])
                return [function(environ)]
            return application

        @responds
        def application(request):
            return b"ok"
        """
    with a_life(site) as machine:
        app = machine.app()
        write(app, text)
        await machine.started(app)
        assert get(address_of(app).port) == "ok"


@on_the_loop
async def test_an_asgi_application_that_its_text_does_not_show_is_refused_by_name(site: Site) -> None:
    text = """
        class Made:
            async def __call__(self, scope, receive, send):
                pass

        application = vars()["Made"]()
        """
    with a_life(site) as machine:
        app = machine.app(server=Server(worker_class="sync"))
        write(app, text)
        await machine.staged(app)
        assert (await failure(machine, app)).startswith(
            "the Made object is an ASGI application, and worker class SyncWorker serves WSGI: set worker_class to asgi"
        )


@on_the_loop
async def test_a_start_that_is_cancelled_while_it_is_ended_is_told_by_its_reason(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    killing = asyncio.Event()

    async def hanging(*_: object) -> None:
        killing.set()
        await asyncio.Event().wait()

    with a_life(site) as machine:
        app = machine.app()
        write(app, f"{_OK}raise RuntimeError('no such luck')\n")
        await machine.staged(app)
        with monkeypatch.context() as patched:
            patched.setattr(instances.Instances, "_kill", hanging)
            starting = asyncio.create_task(machine.do(start_of(app.revision(machine.content()))))
            async with asyncio.timeout(60):
                await killing.wait()
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
        with suppress(ProcessLookupError):
            os.kill(machine.only().pid, 9)
        await soon(lambda: machine.only().end is not None)
        await machine.do(burial(machine))
    (told,) = [text for _, kind, text in site.events("blog") if kind == "exited"]
    assert told.startswith("RuntimeError: no such luck (wsgi.py:5)")


@pytest.mark.parametrize("kind", _WARMING)
@on_the_loop
async def test_a_health_path_is_asked_again_in_the_same_worker_until_it_answers_in_time(site: Site, kind: str) -> None:
    with a_life(site) as machine:
        app = machine.app(server=Server(health=Health(path="/", timeout_s=2.0)))
        write(app, _WARMING[kind], f"{kind}.py")
        await machine.started(app)
        assert get(address_of(app).port) == "asked 4 times"
    assert log(site).count("Booting worker") == 1
    assert "not ready: GET / did not answer within 2 s" in log(site)
    assert "not ready: GET / answered 503" in log(site)


@on_the_loop
async def test_a_health_path_that_hangs_is_told_as_that_while_the_app_starts(site: Site) -> None:
    text = """
        import time
        def application(environ, start_response):
            while True:
                try:
                    time.sleep(0.1)
                except Exception:
                    pass
        """
    with a_life(site) as machine:
        app = machine.app(server=Server(health=Health(path="/up", timeout_s=0.3), start_timeout_s=at_leisure(12.0)))
        write(app, text)
        await machine.staged(app)
        starting = asyncio.create_task(failure(machine, app))
        await soon(lambda: "GET /up did not answer within 0.3 s" in str([i.note for i in machine.seen().instances]))
        assert "GET /up did not answer within 0.3 s" in await starting


@on_the_loop
async def test_a_lifespan_that_fails_is_told_by_its_exception(site: Site) -> None:
    text = """
        import traceback
        async def application(scope, receive, send):
            await receive()
            try:
                {}["db"]
            except KeyError:
                await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
                raise
        """
    with a_life(site) as machine:
        app = machine.app()
        write(app, text, "asgi.py")
        await machine.staged(app)
        assert (await failure(machine, app)).startswith("its lifespan raised KeyError: 'db' (asgi.py:6); more in")


@on_the_loop
async def test_a_new_worker_that_cannot_import_the_app_waits_while_the_others_serve(site: Site) -> None:
    with a_life(site) as machine:
        flag = site.root / "broken"
        app = machine.app(server=Server(workers=2, stop_timeout_s=5))
        write(app, f"import os\nif os.path.exists({str(flag)!r}):\n    raise RuntimeError('no database')\n{_OK}")
        instance = await machine.started(app)
        flag.touch()
        passed = site.paths.readiness("blog") / instance.id
        os.kill(int(next(path.name for path in passed.iterdir() if path.name.isdecimal())), 9)
        await soon(lambda: "RuntimeError: no database (wsgi.py:3)" in str(machine.only().note))
        assert get(address_of(app).port) == "ok"
        flag.unlink()
        await soon(lambda: machine.instances.of("blog")[0].note is None)
        assert machine.only().pid == instance.pid
        assert machine.only().end is None


@on_the_loop
async def test_the_umask_of_the_gunicorn_field_is_the_workers(site: Site) -> None:
    text = """
        import os
        os.close(os.open("made", os.O_CREAT | os.O_WRONLY, 0o666))
        mode = os.stat("made").st_mode
        def application(environ, start_response):
            start_response("200 OK", [])
            return [str(mode).encode()]
        """
    with a_life(site) as machine:
        app = machine.app(server=Server(settings={"umask": 0o077}))
        write(app, text)
        await machine.started(app)
        assert stat.S_IMODE(int(get(address_of(app).port))) == 0o600


# How a worker dies at a request, by what does it: how it ended, and what it said, with the line that is marked.
_DYING = {
    "os._exit": ("print('dying now')\nos._exit(7)", "exited with 7", "dying now"),
    "os._exit after an exception that it printed": (
        "try:\n    raise ValueError('queue lost')  # here\nexcept ValueError:\n    traceback.print_exc()\nos._exit(7)",
        "exited with 7", "ValueError: queue lost (wsgi.py:{here})",
    ),
    "a crash": (
        "ctypes.string_at(0)  # here",
        "was ended by SIGSEGV", "Fatal Python error: Segmentation fault (wsgi.py:{here})",
    ),
    "a native abort": (
        "ctypes.CDLL(None).abort()  # here",
        "was ended by SIGABRT", "Fatal Python error: Aborted (wsgi.py:{here})",
    ),
}  # fmt: skip
_IN_MAIN_THREAD = {
    "an exception": ("raise RuntimeError('lost')  # here", "exited with 255", "RuntimeError: lost (wsgi.py:{here})"),
    "sys.exit": ("sys.exit('no licence')  # here", "exited with 1", "SystemExit: no licence (wsgi.py:{here})"),
}
_DIES_IN_THREAD = """\
import ctypes, os, sys, threading, traceback
def die():
    {how}
def application(environ, start_response):
    threading.Thread(target=die).start()
    start_response("200 OK", [])
    return [b"ok"]
"""
# Between two requests: what a request raises is answered with 500.
_DIES_IN_MAIN_THREAD = """\
import signal, sys
def die(number, frame):
    while frame is not None:
        if frame.f_code.co_name == "handle":
            return
        frame = frame.f_back
    signal.setitimer(signal.ITIMER_REAL, 0)
    {how}
def application(environ, start_response):
    signal.signal(signal.SIGALRM, die)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.mark.parametrize(
    ("text", "dying"),
    [
        *(pytest.param(_DIES_IN_THREAD, dying, id=name) for name, dying in _DYING.items()),
        *(pytest.param(_DIES_IN_MAIN_THREAD, dying, id=name) for name, dying in _IN_MAIN_THREAD.items()),
    ],
)
@on_the_loop
async def test_a_worker_that_dies_on_probation_is_told_with_how_it_ended_and_what_it_said_where(
    site: Site, text: str, dying: tuple[str, str, str]
) -> None:
    how, ended, said = dying
    text = text.replace("{how}", indent(how, "    ").strip())
    here = next((number for number, line in enumerate(text.splitlines(), 1) if "# here" in line), 0)
    with a_life(site) as machine:
        app = machine.app()
        site.save(Path(app.source.path) / "wsgi.py", text)
        await machine.started(app)
        with suppress(OSError):
            await asyncio.to_thread(get, address_of(app).port)
        await soon(lambda: machine.only().workers_died)
        assert (machine.only().worker_end, machine.only().said) == (ended, said.format(here=here))


@on_the_loop
async def test_a_worker_that_is_told_to_end_has_not_died(site: Site) -> None:
    """Also by a signal on which gunicorn raises SystemExit wherever the app is."""
    with a_life(site) as machine:
        instance = await machine.started(machine.app())

        def passed() -> set[int]:
            names = names_in(site.paths.readiness("blog") / instance.id, 1000)
            return {int(name) for name in names if name.isdecimal()}

        for number in (signal.SIGTERM, signal.SIGQUIT):
            (worker,) = passed()
            os.kill(worker, number)
            await soon(lambda worker=worker: passed() - {worker} and worker not in passed())  # type: ignore[misc]
        assert (machine.only().workers_died, machine.only().ready) == (0, True)


@pytest.mark.parametrize("env", [{}, {"PYTHONHASHSEED": "random"}], ids=["forked", "executed"])
@on_the_loop
async def test_an_app_starts_processes_by_every_method(site: Site, env: Mapping[str, str]) -> None:
    text = """
        import multiprocessing, operator
        def application(environ, start_response):
            codes = []
            for method in ("fork", "spawn", "forkserver"):
                process = multiprocessing.get_context(method).Process(target=operator.neg, args=(1,))
                process.start()
                process.join(60)
                codes.append(process.exitcode)
            start_response("200 OK", [])
            return [str(codes).encode()]
        """
    with a_life(site) as machine:
        if not env:
            await machine.started(machine.app("other"))  # whose fork server the app is forked from
        with TemporaryDirectory() as short:  # the path of this test leaves no room for the sockets of forkserver
            app = replace(machine.app(), env={"TMPDIR": short, **env})
            write(app, text)
            await machine.started(app)
            assert await asyncio.to_thread(get, address_of(app).port, "/", 60) == "[0, 0, 0]"
