"""What a Procfile says, and what is ignored in it; code below src/ and beside its dependencies."""

from pathlib import Path

import pytest

from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.procfile import web_process
from reconciler.staging.errors import StagingError

APP = "def application(environ, start_response): ...\n"
ASGI = "async def app(scope, receive, send): ...\n"


def plant(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("line", "target", "settings"),
    [
        ("gunicorn web", "web", {}),
        ("gunicorn web:application --timeout=90 --preload", "web:application", {"timeout": 90, "preload_app": True}),
        ("exec gunicorn -t 90 web:make()", "web:make()", {"timeout": 90}),
        ("python -m gunicorn web:application --max-requests 10", "web:application", {"max_requests": 10}),
        ("bin/gunicorn 'web:make(\"x\")' --log-level debug", 'web:make("x")', {"loglevel": "debug"}),
        ("PYTHONUNBUFFERED=1 uv run gunicorn web:application", "web:application", {}),
        ("uvicorn web:make --factory --timeout-keep-alive 7", "web:make()", {"keepalive": 7}),
        ("gunicorn web --no-sendfile --umask 0o22", "web", {"sendfile": False, "umask": 18}),
        ("gunicorn web --umask 022 --timeout 090", "web", {"umask": 18, "timeout": 90}),
        ("gunicorn web -m 18 --keep-alive 9x", "web", {"umask": 18, "keepalive": "9x"}),
    ],
)
def test_a_web_line_is_understood(tmp_path: Path, line: str, target: str, settings: dict[str, object]) -> None:
    found = web_process(plant(tmp_path, {"Procfile": f"worker: celery\nweb: {line}\n"}))
    assert found is not None
    assert (found.target, dict(found.settings)) == (target, settings)


def test_what_the_daemon_owns_is_reported_with_the_way_to_say_it(tmp_path: Path) -> None:
    line = "gunicorn -w 4 --threads 2 -b 0.0.0.0:$PORT --timeout $T --foo=1 -k gevent --graceful-timeout 9 web"
    found = web_process(plant(tmp_path, {"Procfile": f"web: {line}"}))
    assert found is not None
    assert (found.worker_class, dict(found.settings)) == ("gevent", {})
    assert found.reported == (
        "--workers 4 (use the field 'workers')",
        "--threads 2 (use the field 'threads')",
        "--bind 0.0.0.0:$PORT (the daemon opens the listening socket; use the fields 'host' and 'port')",
        "--timeout $T (use the field 'gunicorn')",
        "--foo 1 (use the field 'gunicorn')",
        "--graceful-timeout 9 (use the field 'stop_timeout')",
    )


def test_a_name_that_is_nearly_a_setting_is_reported_unless_gunicorn_conf_uses_it(tmp_path: Path) -> None:
    config = """log_level = "debug"
timeouts = {"web": 30}
timeout = timeouts["web"]
port = 8000
shop_name = "shop"
def post_frok(server, worker): pass
"""
    entry = detect(plant(tmp_path, {"gunicorn.conf.py": config, "wsgi.py": APP}), None)
    assert entry.reported == (
        "timeout of gunicorn.conf.py (use the field 'gunicorn')",
        "log_level of gunicorn.conf.py (gunicorn has no such setting; did you mean loglevel?)",
        "post_frok of gunicorn.conf.py (gunicorn has no such setting; did you mean post_fork?)",
    )


def test_workers_that_gunicorn_conf_takes_from_a_variable_are_reported(tmp_path: Path) -> None:
    config = "import os\nworkers = int(os.environ.get('WEB_CONCURRENCY', 'many'))\n"
    entry = detect(plant(tmp_path, {"gunicorn.conf.py": config, "wsgi.py": APP}), None)
    assert entry.reported == ("workers of gunicorn.conf.py (use the field 'workers')",)


@pytest.mark.parametrize(
    ("files", "asked", "beside", "says"),
    [
        ({"Procfile": "web: gunicorn --chdir srv web", "srv/web.py": APP}, None, "", "web:application wsgi srv "),
        ({"Procfile": "web: cd srv && gunicorn web", "srv/web.py": APP}, None, "", "web:application wsgi srv "),
        ({"Procfile": "web: uvicorn web:app", "web.py": ASGI}, None, "", "web:app asgi  "),
        ({"Procfile": "web: gunicorn -k uvicorn.workers.UvicornWorker web:app", "web.py": ""}, None, "", "error"),
        ({"Procfile": "web: gunicorn --pythonpath lib,x web", "web.py": APP}, None, "", "web:application wsgi  lib,x"),
        ({"Procfile": "web: gunicorn web", "wsgi.py": APP, "web.py": APP}, None, "", "web:application wsgi  "),
        ({"src/shop/__init__.py": "", "src/shop/wsgi.py": APP}, None, "", "shop.wsgi:application wsgi  src"),
        ({"src/shop/__init__.py": "", "src/shop/main.py": ASGI}, None, "", "shop.main:app asgi  src"),
        ({"src/app.py": "import flask\napp = flask.Flask('x')"}, None, "", "app:app wsgi  src"),
        ({"src/shop/__init__.py": "", "src/shop/web.py": APP}, "shop.web", "", "shop.web:application wsgi  src"),
        ({"a/wsgi.py": APP, "b/wsgi.py": APP}, None, "b", "wsgi:application wsgi b "),
        ({"a/src/x/__init__.py": "", "a/src/x/wsgi.py": APP}, None, "a", "x.wsgi:application wsgi a a/src"),
        ({"wsgi.py": APP, "deps/r.txt": ""}, None, "deps", "wsgi:application wsgi  "),
        ({"a/web.py": APP}, "web:application", "a", "web:application wsgi a "),
    ],
)
def test_entry_points_away_from_the_top(
    tmp_path: Path, files: dict[str, str], asked: str | None, beside: str, says: str
) -> None:
    code = plant(tmp_path, files)
    if says == "error":
        with pytest.raises(StagingError, match=r"web\.py does not define app$"):
            detect(code, asked, beside)
        return
    found = detect(code, asked, beside)
    assert f"{found.target} {found.interface} {found.chdir} {','.join(found.pythonpath)}" == says


def test_a_byte_order_mark_hides_no_line(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_bytes(b"\xef\xbb\xbfweb: gunicorn web:app\r\n")
    found = web_process(tmp_path)
    assert found is not None
    assert found.target == "web:app"


@pytest.mark.parametrize("line", ["gunicorn --chdir a\0b wsgi:app", "uvicorn --app-dir s\0x m:app", "cd a\0b && run"])
def test_a_nul_in_a_procfile_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"wsgi.py": APP, "Procfile": f"worker: x\nweb: {line}\n"})
    with pytest.raises(StagingError, match="cannot read Procfile: it has a NUL byte at line 2"):
        detect(tmp_path, None)
