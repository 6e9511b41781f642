"""The web lines that people write: what each one starts, and what of it is not followed."""

from pathlib import Path

import pytest

from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.web_line.command import understand
from reconciler.staging.detection.web_line.shell import simple_commands
from reconciler.staging.errors import StagingError

FLASK = "import flask\napp = flask.Flask('x')\n\n\ndef create_app(config=None):\n    return flask.Flask('x')\n"
FILES = {
    "web.py": f"{FLASK}application = app\n",
    "api.py": "import fastapi\napp = fastapi.FastAPI()\n\n\ndef make():\n    return fastapi.FastAPI()\n",
    "greet.py": "import flask\nsite = flask.Flask('x')\nif __name__ == '__main__':\n    site.run()\n",
    "start.py": "from shop.site import create_app\nif __name__ == '__main__':\n    create_app().run()\n",
    "srv/wsgi.py": "def application(environ, start_response): ...\n",
    "shop/__init__.py": "",
    "shop/site.py": FLASK,
    "shop/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "shop/asgi.py": "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
    "shop/settings.py": "",
    "manage.py": "import django, os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n",
    "conf/gunicorn.py": "timeout = 66\nwsgi_app = 'web:app'\n",
    "run.sh": '#!/bin/sh\nset -e\npython manage.py migrate\nexec gunicorn web:app --timeout 44 "$@"\n',
    "uwsgi.ini": "[uwsgi]\nmodule = web:app\nharakiri = 33\nmaster = true\n",
}
UNDERSTOOD = {
    "gunicorn web:app": "web:app wsgi",
    "exec gunicorn shop.wsgi --log-file - --timeout=90": "shop.wsgi:application wsgi timeout=90",
    "python -m gunicorn web:app": "web:app wsgi",
    "gunicorn 'web:create_app()' > app.log 2>&1": "web:create_app() wsgi",
    "gunicorn -k uvicorn.workers.UvicornWorker -w 2 api:app": "api:app asgi",
    "gunicorn --workers $(( 2 * $(nproc) + 1 )) -b 0.0.0.0:${PORT:-8000} web:app": "web:app wsgi",
    "gunicorn -c conf/gunicorn.py": "web:app wsgi timeout=66",
    "gunicorn -c conf/gunicorn.py web:app --timeout 11": "web:app wsgi timeout=11",
    "gunicorn --chdir srv wsgi": "wsgi:application wsgi in srv",
    "cd srv && gunicorn wsgi": "wsgi:application wsgi in srv",
    "(cd srv && gunicorn wsgi:application)": "wsgi:application wsgi in srv",
    "gunicorn --pythonpath srv wsgi": "wsgi:application wsgi path srv",
    "PYTHONPATH=srv gunicorn wsgi": "wsgi:application wsgi path srv",
    "A=1 gunicorn web:app": "web:app wsgi",
    "env A=1 gunicorn web:app": "web:app wsgi",
    "python manage.py migrate && gunicorn web:app": "web:app wsgi",
    "flask db upgrade; flask translate compile; gunicorn -w 4 web:app": "web:app wsgi",
    "celery -A shop worker & gunicorn web:app": "web:app wsgi",
    "sh -c 'gunicorn web:app --timeout 7'": "web:app wsgi timeout=7",
    'bash -lc "cd srv && exec gunicorn wsgi"': "wsgi:application wsgi in srv",
    "./run.sh": "web:app wsgi timeout=44",
    "bash run.sh": "web:app wsgi timeout=44",
    "if [ -f x ]; then sleep 1; fi; gunicorn web:app": "web:app wsgi",
    "newrelic-admin run-program gunicorn web:app": "web:app wsgi",
    "ddtrace-run gunicorn web:app": "web:app wsgi",
    "opentelemetry-instrument --service_name shop gunicorn web:app": "web:app wsgi",
    "bin/start-pgbouncer gunicorn web:app": "web:app wsgi",
    "uv run --no-dev gunicorn web:app": "web:app wsgi",
    "poetry run gunicorn web:app": "web:app wsgi",
    "pipenv run gunicorn web:app": "web:app wsgi",
    "uvicorn api:app --host 0.0.0.0 --port $PORT --timeout-keep-alive 9": "api:app asgi keepalive=9",
    "uvicorn api:make --factory": "api:make() asgi",
    "uvicorn api:make": "api:make() asgi",
    "python -m uvicorn api:app --proxy-headers": "api:app asgi",
    "hypercorn api:app --bind 0.0.0.0:$PORT --keep-alive 7": "api:app asgi keepalive=7",
    "hypercorn wsgi:web:app": "web:app wsgi",
    "daphne -b 0.0.0.0 -p $PORT -v2 shop.asgi:application": "shop.asgi:application asgi",
    "sanic api:app": "api:app asgi",
    ". ./run.sh": "web:app wsgi timeout=44",
    "python -m gunicorn.app.wsgiapp web:app": "web:app wsgi",
    "granian --interface asgi api:app": "api:app asgi",
    "waitress-serve --port=$PORT web:app": "web:app wsgi",
    "waitress-serve --listen=*:$PORT --threads 8 --call web:create_app": "web:create_app() wsgi",
    "uwsgi --http :$PORT --wsgi-file web.py --callable app --master --harakiri 55": "web:app wsgi timeout=55",
    "uwsgi --http-socket :$PORT -w shop.wsgi:application -p 4": "shop.wsgi:application wsgi",
    "uwsgi uwsgi.ini": "web:app wsgi timeout=33",
    "mod_wsgi-express start-server srv/wsgi.py --port $PORT": "wsgi:application wsgi path srv",
    "flask --app web run --host 0.0.0.0 --port $PORT": "web:app wsgi",
    "flask --app web:create_app run": "web:create_app() wsgi",
    "FLASK_APP=shop/site.py flask run -p $PORT": "shop.site:app wsgi",
    "python -m flask --app shop.site run": "shop.site:app wsgi",
    "fastapi run api.py --port $PORT": "api:app asgi",
    "fastapi run": "api:app asgi",
    "python greet.py": "greet:site wsgi",
    "python -u greet.py $PORT": "greet:site wsgi",
    "uv run greet.py": "greet:site wsgi",
    "python start.py": "start:create_app() wsgi",
    "python -m greet": "greet:site wsgi",
    "python manage.py runserver 0.0.0.0:$PORT": "shop.wsgi:application wsgi",
}  # fmt: skip
QUOTED = (
    "node server.js",
    "$START",
    "honcho start",
    "streamlit run greet.py",
    "gunicorn --paste production.ini",
    'python -c "import greet"',
    "pip install gunicorn",
    'gunicorn "web:app',
    "gunicorn web:app; gunicorn shop.wsgi",
)


def plant(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def told(directory: Path, line: str, files: dict[str, str] = FILES) -> str:
    entry = detect(plant(directory, {**files, "Procfile": f"web: {line}\n"}), None)
    assert entry.because == "the web line of Procfile", entry.reported
    where = [f"in {entry.chdir}"] if entry.chdir else [f"path {path}" for path in entry.pythonpath]
    settings = (f"{name}={value}" for name, value in entry.gunicorn.items())
    return " ".join((entry.target, entry.interface, *where, *settings))


@pytest.mark.parametrize(("line", "found"), UNDERSTOOD.items())
def test_a_web_line_stands_for_the_app_it_starts(tmp_path: Path, line: str, found: str) -> None:
    assert told(tmp_path, line) == found


@pytest.mark.parametrize("line", QUOTED)
def test_any_other_line_is_quoted(tmp_path: Path, line: str) -> None:
    """Where something else can be served it is, and the line is reported; else the error quotes it."""
    files = {"wsgi.py": "def application(environ, start_response): ...\n", "Procfile": f"web: {line}\n"}
    entry = detect(plant(tmp_path, files), None)
    assert entry.target == "wsgi:application"
    assert entry.reported[0].startswith(f"the web line of Procfile, `{line}` (")
    (tmp_path / "wsgi.py").unlink()
    with pytest.raises(StagingError) as raised:
        detect(tmp_path, None)
    assert f"cannot find the entry point: the web line of Procfile, `{line}`, is not followed: " in str(raised.value)


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("python manage.py migrate && gunicorn web:app", "python manage.py migrate (use the field 'release')"),
        ("celery worker & gunicorn web:app", "celery worker & (name it in `processes` of the manifest)"),
        ("TOKEN=abc gunicorn web:app", "TOKEN=… (use the field 'env')"),
        ("WEB_CONCURRENCY=many gunicorn web:app", "WEB_CONCURRENCY=… (use the field 'env')"),
        ("export TOKEN='a b'; gunicorn web:app", "TOKEN=… (use the field 'env')"),
        ("gunicorn -e TOKEN=abc web:app", "--env TOKEN=… (use the field 'env')"),
        ("newrelic-admin run-program gunicorn web:app",
         "newrelic-admin run-program (call newrelic.agent.initialize() in the code)"),
        ("bin/start-x gunicorn web:app", "bin/start-x (the daemon starts gunicorn itself)"),
        ("uv run --with rich gunicorn web:app",
         "uv run --with rich (the daemon makes the environment; use the field 'dependencies')"),
        ("waitress-serve --threads=8 web:app", "--threads 8 (use the field 'threads')"),
        ("uvicorn api:app --ws websockets", "--ws websockets (gunicorn has no such option)"),
        ("gunicorn web:app --timeout $T", "--timeout $T (use the field 'gunicorn')"),
        (". ./.env && gunicorn web:app", ". ./.env (use the field 'env_files')"),
        ("gunicorn -c conf/none.py web:app",
         "--config conf/none.py (the daemon starts, watches and ends the process)"),
    ],
)  # fmt: skip
def test_what_a_line_does_besides_is_reported_with_what_to_write(tmp_path: Path, line: str, reported: str) -> None:
    entry = detect(plant(tmp_path, {**FILES, "Procfile": f"web: {line}\n"}), None)
    assert entry.reported == (reported,)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gunicorn web:create_app", "create_app is a function that needs no argument, not an app; did you mean web:"),
        ("gunicorn web:nope", r"'web:nope' of the web line of Procfile: web\.py does not define nope, only"),
        ("python blocks.py", r"blocks\.py: it starts a server of its own when it is imported \(line 3\)"),
    ],
)
def test_a_line_that_could_not_serve_is_refused(tmp_path: Path, line: str, says: str) -> None:
    blocks = "import flask\napp = flask.Flask('x')\napp.run()\n"
    with pytest.raises(StagingError, match=says):
        detect(plant(tmp_path, {**FILES, "blocks.py": blocks, "Procfile": f"web: {line}\n"}), None)


def test_a_module_that_is_not_in_the_source_loses_only_against_what_is(tmp_path: Path) -> None:
    code = plant(tmp_path, {"Procfile": "web: gunicorn gone:app\n", "wsgi.py": FILES["web.py"]})
    assert detect(code, None).target == "wsgi:application"
    assert detect(code, None).reported == (
        "the web line of Procfile, `gunicorn gone:app` (there is no gone in the source; set `entrypoint`)",
    )
    (code / "wsgi.py").unlink()
    assert detect(code, None).target == "gone:app"


def test_every_other_line_of_a_procfile_is_reported_with_what_to_write(tmp_path: Path) -> None:
    lines = "web: gunicorn web:app\nrelease: true\nworker: A=1 celery -A shop worker\ncron: 0 4 * * * python x.py\n"
    entry = detect(plant(tmp_path, {**FILES, "Procfile": f"\ufeff# ours\r\n{lines}"}), None)
    assert entry.reported == (
        "the worker line of Procfile: A=… celery -A shop worker (`processes: {worker: 1}` in the manifest runs it)",
        "the cron line of Procfile: 0 4 * * * python x.py (use the field 'schedules')",
    )


def test_the_wsgi_line_of_piku_is_a_web_line(tmp_path: Path) -> None:
    entry = detect(plant(tmp_path, {**FILES, "Procfile": "wsgi: web:app\nworker: python x.py\n"}), None)
    assert (entry.target, entry.because) == ("web:app", "the web line of Procfile")
    assert len(entry.reported) == 1


def test_an_entrypoint_in_the_manifest_says_that_the_web_line_is_not_followed(tmp_path: Path) -> None:
    entry = detect(plant(tmp_path, {**FILES, "Procfile": "web: gunicorn web:app\n"}), "api:app")
    assert entry.reported == ("the web line of Procfile, `gunicorn web:app` (`entrypoint` is set)",)


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ('a \'b c\' "d\\"e" f\\ g', ["a", "b c", 'd"e', "f g"]),
        ("a $(b; c) ${D:-e f} `g | h`", ["a", "$(b; c)", "${D:-e f}", "`g | h`"]),
        ("a > x 2>&1 b <y", ["a", "b"]),
        ("a # b; c", ["a"]),
    ],
)
def test_a_shell_line_is_split_as_a_shell_does(line: str, commands: list[str]) -> None:
    (command,) = simple_commands(line)
    assert list(command.words) == commands


@pytest.mark.parametrize("text", ["(" * 60000, "$(" * 30000, "'" * 60001, "1" * 60000, "\\" * 60000, "a;" * 30000])
def test_a_hostile_line_is_read_in_one_pass(tmp_path: Path, text: str) -> None:
    code = plant(tmp_path, {"Procfile": f"web: {text}\n", "wsgi.py": "application = 1\n"})
    assert detect(code, None).target == "wsgi:application"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scripts that are read from now on."""
    names = list[str]()

    def text_of(path: Path, name: str, *, most: int) -> str:
        names.append(name)
        return path.read_text()[:most]

    monkeypatch.setattr("reconciler.staging.detection.web_line.command.text_of", text_of)
    return names


def test_scripts_that_run_one_another_again_and_again_are_each_read_once(tmp_path: Path, read: list[str]) -> None:
    for one, other in (("a.sh", "b.sh"), ("b.sh", "a.sh")):
        (tmp_path / one).write_text(f"exec ./{other}\n" * 2000)
    assert understand("./a.sh", tmp_path) is None
    assert read == ["./a.sh", "./b.sh"]
    (tmp_path / "b.sh").write_text("exec ./a.sh\nexec gunicorn web:app\n")
    found = understand("./a.sh", tmp_path)
    assert found is not None
    assert found.target == "web:app"


def test_no_more_than_a_few_scripts_are_read(tmp_path: Path, read: list[str]) -> None:
    for number in range(50):
        (tmp_path / f"{number}.sh").write_text("exec gunicorn web:app\n" if number == 19 else "true\n")
    line = "\n".join(f"./{number}.sh" for number in range(50))
    found = understand(line, tmp_path)
    assert found is not None
    assert found.target == "web:app"
    assert len([name for name in read if name.endswith(".sh")]) == 20


@pytest.mark.parametrize("last", ["exec ./serve.sh", 'exec bash -c "gunicorn web:app"'])
def test_other_commands_of_a_script_are_no_scripts(tmp_path: Path, last: str) -> None:
    (tmp_path / "serve.sh").write_text("exec gunicorn web:app\n")
    (tmp_path / "start.sh").write_text("".join(f"command{number} x\n" for number in range(40)) + last)
    found = understand("./start.sh", tmp_path)
    assert found is not None
    assert found.target == "web:app"


def test_what_is_too_deep_in_one_place_is_found_in_another(tmp_path: Path) -> None:
    for name, content in {"a": "./b.sh", "b": "./c.sh", "c": "exec sh -c 'gunicorn web:app'"}.items():
        (tmp_path / f"{name}.sh").write_text(content)
    found = understand("./a.sh\n./c.sh", tmp_path)
    assert found is not None
    assert found.target == "web:app"
