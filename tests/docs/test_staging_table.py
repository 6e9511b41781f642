"""The table of docs/reference/staging.md: each input, and what staging makes of it or says of it, word for word.

After a change of words, `RECONCILER_WRITE_TABLE=1 pytest tests/docs/test_staging_table.py` writes the table anew.
"""

import asyncio
import json
import os
import shlex
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uv

from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.lockfiles.format import ExportByConversion
from reconciler.staging.detection.offline import unpack_bundle
from reconciler.staging.detection.programs.program import ServingProgram
from reconciler.staging.detection.programs.recognition import serving_program
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import Selection, select
from reconciler.staging.environments.export import Exporter
from reconciler.staging.environments.tools import CommandContext, Tools
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log
from reconciler.staging.source.snapshot import snapshot

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/reference/staging.md"
PROJECTS = ROOT / "tests/projects"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

WSGI = "def application(environ, start_response): ...\n"
ASGI = "async def app(scope, receive, send): ...\n"
FLASK = "import flask\napp = flask.Flask(__name__)\n"
MANAGE = "import os, django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{0}')\n"
NODE = {"package.json": '{"scripts": {"start": "node server.js"}}'}
PROJECT = "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['bottle']\n"


def host(version: str) -> Runtime:
    name = "python" + ".".join(version.split(".")[:2])
    return Runtime(name=name, description=f"Python {version}", version=version, path=f"/usr/bin/{name}")


HOST = tuple(map(host, ("2.7.18", "3.4.10", "3.7.16", "3.11.7", "3.12.1")))


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input in words and as files; `locked` copies a project's lock files, `pack` makes an archive of the files."""

    says: str
    files: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    locked: str = ""
    pack: Callable[[Path, Path], Path] | None = None
    read: bool = False


def locked(name: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (PROJECTS / name).iterdir()}


def changed(name: str, file: str, old: str, new: str) -> dict[str, str]:
    files = {"wsgi.py": WSGI, **locked(name)}
    assert old in files[file]
    return {**files, file: files[file].replace(old, new)}


def a_zip(source: Path, target: Path) -> Path:
    with zipfile.ZipFile(target.with_suffix(".zip"), "w") as zipped:
        for path in sorted(source.rglob("*")):
            zipped.write(path, path.relative_to(source).as_posix())
    return target.with_suffix(".zip")


def half_a_zip(source: Path, target: Path) -> Path:
    whole = a_zip(source, target)
    whole.write_bytes(whole.read_bytes()[:40])
    return whole


def leading_out(source: Path, target: Path) -> Path:
    packed = target.with_suffix(".tar.gz")
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(source / "wsgi.py", arcname="../wsgi.py")
    return packed


def with_a_device(source: Path, target: Path) -> Path:
    packed = target.with_suffix(".tar.gz")
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(source / "wsgi.py", arcname="wsgi.py")
        device = tarfile.TarInfo("tty")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    return packed


def a_bomb(source: Path, target: Path) -> Path:
    packed = target.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", b"\0" * (70 << 20))
    return packed


W = {"wsgi.py": WSGI}
CASES = (
    Case(says="`wsgi.py`, nothing else", files=W),
    Case(says="`requirements.txt`", files={**W, "requirements.txt": "bottle\n"}),
    Case(
        says="`requirements.txt` and a `pyproject.toml`", files={**W, "requirements.txt": "", "pyproject.toml": PROJECT}
    ),
    Case(says="`requirements.txt` and `uv.lock`", files={**W, "requirements.txt": "", "uv.lock": ""}),
    Case(
        says="the same, with `dependencies: requirements.txt`",
        files={**W, "requirements.txt": "", "uv.lock": ""},
        recipe={"dependencies": "requirements.txt"},
    ),
    Case(says="`poetry.lock` and `Pipfile.lock`", files={**W, "poetry.lock": "", "Pipfile.lock": ""}),
    Case(says="`uv.lock` with its `pyproject.toml`", files={**W, **locked("uv")}, read=True),
    Case(
        says="a `pyproject.toml` with more requirements than its `uv.lock`",
        files=changed("uv", "pyproject.toml", '["bottle"]', '["bottle", "flask"]'),
        read=True,
    ),
    Case(
        says="`uv.lock`, and `dependencies: {extras: [zip]}` without such an extra",
        files={**W, **locked("uv")},
        recipe={"extras": ("zip",)},
        read=True,
    ),
    Case(
        says="`uv.lock` for 3.8 and newer under `runtime: 3.7`", files={**W, **locked("uv")}, recipe={"runtime": "3.7"}
    ),
    Case(says="`uv.lock` that is not TOML", files={**W, "uv.lock": "<<<<<<< HEAD\n", "pyproject.toml": PROJECT}),
    Case(says="`pylock.toml`", files={**W, **locked("pylock")}, read=True),
    Case(
        says="a `pyproject.toml` with a requirement that its `pylock.toml` does not meet",
        files=changed("pylock", "pyproject.toml", '["bottle"]', '["bottle>=1"]'),
        read=True,
    ),
    Case(says="`poetry.lock` with its `pyproject.toml`", files={**W, **locked("poetry")}),
    Case(
        says="a Poetry `pyproject.toml` without a lock file",
        files={**W, "pyproject.toml": locked("poetry")["pyproject.toml"]},
    ),
    Case(says="`Pipfile.lock` for 3.11", files={**W, **locked("pipenv")}),
    Case(
        says="`Pipfile.lock` for 3.11 under `runtime: 3.12`",
        files={**W, **locked("pipenv")},
        recipe={"runtime": "3.12"},
    ),
    Case(says="`Pipfile` without a lock file", files={**W, "Pipfile": ""}),
    Case(says="`pyproject.toml` with a project table", files={**W, "pyproject.toml": PROJECT}),
    Case(says="`pyproject.toml` that only configures tools", files={**W, "pyproject.toml": "[tool.ruff]\n"}),
    Case(says="`pyproject.toml` that is not TOML", files={**W, "pyproject.toml": "[project\n"}),
    Case(says="`setup.py`", files={**W, "setup.py": ""}),
    Case(says="`dependencies: deps.txt`, which does not exist", files=W, recipe={"dependencies": "deps.txt"}),
    Case(says="`-r ../common.txt` in `requirements.txt`", files={**W, "requirements.txt": "-r ../common.txt\n"}),
    Case(says="`-e ../lib` in `requirements.txt`", files={**W, "requirements.txt": "-e ../lib\n"}),
    Case(says="`-e ./lib` in `requirements.txt`, which does not exist", files={**W, "requirements.txt": "-e ./lib\n"}),
    Case(
        says="extras of a `requirements.txt`",
        files={**W, "requirements.txt": ""},
        recipe={"extras": ("web",)},
    ),
    Case(says="`runtime: python2`", files=W, recipe={"runtime": "python2"}),
    Case(says="`runtime: 3.9`, which the host lacks", files=W, recipe={"runtime": "3.9"}),
    Case(says="`runtime: 3.4`, which the host has", files=W, recipe={"runtime": "3.4"}),
    Case(says="`.python-version` with `3.11`", files={**W, ".python-version": "3.11\n"}),
    Case(says="`runtime.txt` with `python-3.11.x`", files={**W, "runtime.txt": "python-3.11.x\n"}),
    Case(
        says="`runtime.txt` with `python-3.11.x` under `runtime: 3.12`",
        files={**W, "runtime.txt": "python-3.11.x\n"},
        recipe={"runtime": "3.12"},
    ),
    Case(
        says="`requires-python = '>=3.12'` under `runtime: 3.11`",
        files={**W, "pyproject.toml": f"{PROJECT}requires-python = '>=3.12'\n"},
        recipe={"runtime": "3.11"},
    ),
    Case(says="`requires-python = '>=3.99'`", files={**W, "pyproject.toml": f"{PROJECT}requires-python = '>=3.99'\n"}),
    Case(
        says="`.python-version` with `3.11` and `runtime.txt` with `python-3.12.1`",
        files={**W, ".python-version": "3.11\n", "runtime.txt": "python-3.12.1\n"},
    ),
    Case(says="`.tool-versions` with `python 3.11.7`", files={**W, ".tool-versions": "python 3.11.7\n"}),
    Case(says="`Dockerfile` with `FROM python:3.11-slim`", files={**W, "Dockerfile": "FROM python:3.11-slim\n"}),
    Case(
        says="`Dockerfile` with `FROM python:3.13-slim`, which the host lacks",
        files={**W, "Dockerfile": "FROM python:3.13-slim\n"},
    ),
    Case(says="`environment.yml`", files={**W, "environment.yml": "name: shop\n"}),
    Case(says="`requirements/production.txt`, nothing else", files={**W, "requirements/production.txt": "bottle\n"}),
    Case(
        says="`requirements.txt`, `bin/post_compile` and `nltk.txt`",
        files={**W, "requirements.txt": "bottle\n", "bin/post_compile": "true\n", "nltk.txt": "brown\n"},
    ),
    Case(says="`pdm.lock` with its `pyproject.toml`", files={**W, "pdm.lock": "", "pyproject.toml": PROJECT}),
    Case(says="`asgi.py`", files={"asgi.py": ASGI}),
    Case(says="`app.py` with one Flask object", files={"app.py": FLASK}),
    Case(says="`app.py` and `main.py`, each with one", files={"app.py": FLASK, "main.py": FLASK}),
    Case(
        says="`entrypoint: web:create_app()`",
        files={"web.py": "def create_app(): ...\n"},
        recipe={"entrypoint": "web:create_app()"},
    ),
    Case(
        says="`entrypoint: web:app`, and no `app` in `web.py`",
        files={"web.py": "x = 1\n"},
        recipe={"entrypoint": "web:app"},
    ),
    Case(
        says="Django, `manage.py` at the top",
        files={"manage.py": MANAGE.format("site1.settings"), "site1/settings.py": "", "site1/wsgi.py": WSGI},
    ),
    Case(
        says="an old Django project: `manage.py` and `settings.py`, no `wsgi.py`",
        files={"manage.py": MANAGE.format("settings"), "settings.py": ""},
    ),
    Case(
        says="two Django projects side by side",
        files={"a/manage.py": MANAGE.format("s"), "b/manage.py": MANAGE.format("s")},
    ),
    Case(
        says="`Procfile` with `web: gunicorn --chdir srv -w 4 --timeout 90 web:make()`",
        files={
            "Procfile": "web: gunicorn --chdir srv -w 4 --timeout 90 web:make()\n",
            "srv/web.py": "def make(): ...\n",
        },
    ),
    Case(
        says="`Procfile` with `web: gunicorn web:app`, and no such name",
        files={"Procfile": "web: gunicorn web:app\n", "web.py": ""},
    ),
    Case(
        says="`Procfile` with `web: gunicorn other:app --timeout 99`, and a `wsgi.py`",
        files={**W, "Procfile": "web: gunicorn other:app --timeout 99\n", "other.py": FLASK},
    ),
    Case(
        says="`Procfile` with `web: python greet.py` and a worker",
        files={"Procfile": "web: python greet.py\nworker: celery -A greet worker\n", "greet.py": FLASK},
    ),
    Case(
        says="`Procfile` with `web: python migrate.py && newrelic-admin run-program waitress-serve web:app`",
        files={
            "Procfile": "web: python migrate.py && newrelic-admin run-program waitress-serve web:app\n",
            "web.py": FLASK,
        },
    ),
    Case(
        says="`Procfile` with `web: ./start.sh`, which runs `exec gunicorn web:app`",
        files={
            "Procfile": "web: ./start.sh\n",
            "start.sh": "#!/bin/sh\nexec gunicorn web:app\n",
            "web.py": FLASK,
        },
    ),
    Case(says="`Procfile` with `web: node server.js`", files={"Procfile": "web: node server.js\n"}),
    Case(says="the same, and a `wsgi.py`", files={**W, "Procfile": "web: node server.js\n"}),
    Case(
        says="`Procfile` with `web: gunicorn gone:app`, no `gone.py`, and a `wsgi.py`",
        files={**W, "Procfile": "web: gunicorn gone:app\n"},
    ),
    Case(
        says="`gunicorn.conf.py` with a timeout, threads and a computed `keepalive`",
        files={**W, "gunicorn.conf.py": "timeout = 77\nthreads = 8\nkeepalive = 2 * timeout\n"},
    ),
    Case(says="`gunicorn.conf.py` with `worker_clas`", files={**W, "gunicorn.conf.py": "worker_clas = 'gthread'\n"}),
    Case(
        says="`Procfile` with a web line and `release: python note.py`",
        files={**W, "Procfile": "web: gunicorn wsgi\nrelease: python note.py\n", "note.py": ""},
    ),
    Case(
        says="the same without `note.py`",
        files={**W, "Procfile": "web: gunicorn wsgi\nrelease: python note.py\n"},
    ),
    Case(
        says="a Django project with `django.contrib.staticfiles` and a `STATIC_ROOT`",
        files={
            "manage.py": MANAGE.format("site1.settings"),
            "site1/settings.py": "INSTALLED_APPS = ['django.contrib.staticfiles']\nSTATIC_ROOT = 'collected'\n",
            "site1/wsgi.py": WSGI,
        },
    ),
    Case(
        says="the same without a `STATIC_ROOT`",
        files={
            "manage.py": MANAGE.format("site1.settings"),
            "site1/settings.py": "INSTALLED_APPS = ['django.contrib.staticfiles']\n",
            "site1/wsgi.py": WSGI,
        },
    ),
    Case(
        says="`create_app(config=None)` in the only package",
        files={"notes/__init__.py": "import flask\ndef create_app(config=None):\n    return flask.Flask('x')\n"},
    ),
    Case(
        says="`app/main.py` with one FastAPI object",
        files={"app/__init__.py": "", "app/main.py": "import fastapi\napp = fastapi.FastAPI()\n"},
    ),
    Case(says="`app.py` in the syntax of Python 2", files={"app.py": "print 'on'\ndef app(e, s): ...\n"}),
    Case(
        says="`app.py` with one Flask object, `main.py` with a function of two arguments",
        files={"app.py": FLASK, "main.py": "def add(left, right): ...\n"},
    ),
    Case(
        says="`entrypoint: web:create_app`, without parentheses",
        files={"web.py": "def create_app(): ...\n"},
        recipe={"entrypoint": "web:create_app"},
    ),
    Case(
        says="`entrypoint: web:Shop().app()`",
        files={"web.py": "class Shop: ...\n"},
        recipe={"entrypoint": "web:Shop().app()"},
    ),
    Case(
        says="`manage.py` whose settings module is not there",
        files={"manage.py": MANAGE.format("office.settings"), "requirements.txt": "django\n"},
    ),
    Case(says="`runtime.txt` with `python-3.12.3`, which the host lacks", files={**W, "runtime.txt": "python-3.12.3"}),
    Case(says="`runtime: 3.12.3`, which the host lacks", files=W, recipe={"runtime": "3.12.3"}),
    Case(says="`.python-version` with a byte order mark", files={**W, ".python-version": "\ufeff3.11\n"}),
    Case(
        says="`poetry.lock` for `~3.11 \\|\\| ~3.13`",
        files={**W, "poetry.lock": "package = []\n[metadata]\npython-versions = '~3.11 || ~3.13'\n"},
    ),
    Case(
        says="`Pipfile.lock` for 3.11.9, which the host lacks",
        files={**W, "Pipfile.lock": '{"_meta": {"requires": {"python_full_version": "3.11.9"}}}'},
    ),
    Case(
        says="`-e git+https://example.com/x.git#egg=x` in `requirements.txt`",
        files={**W, "requirements.txt": "-e git+https://example.com/x.git#egg=x"},
    ),
    Case(says="`-e /` in `requirements.txt`", files={**W, "requirements.txt": "-e /"}),
    Case(says="`vendor/` with an archive of the front end", files={**W, "vendor/anything.zip": ""}),
    Case(says="`src/shop/wsgi.py`", files={"src/shop/__init__.py": "", "src/shop/wsgi.py": WSGI}),
    Case(says="`package.json` with `node server.js`", files={**NODE, "server.js": "server.listen(process.env.PORT)\n"}),
    Case(says="the same, with `server.listen({fd: 3})`", files={**NODE, "server.js": "server.listen({fd: 3})\n"}),
    Case(
        says="`package.json` with `next build && next start`, and a lock file",
        files={
            "package.json": json.dumps(
                {"scripts": {"start": "next build && next start"}, "dependencies": {"next": "15"}}
            ),
            "package-lock.json": "{}",
        },
    ),
    Case(
        says="a Django project with a `package.json`",
        files={**NODE, "manage.py": MANAGE.format("site1.settings"), "site1/settings.py": "", "site1/wsgi.py": WSGI},
    ),
    Case(says="`config.ru` and a `Gemfile`", files={"config.ru": "run App\n", "Gemfile": "gem 'puma'\n"}),
    Case(
        says="`Procfile` with `web: bundle exec puma -p $PORT` and a worker",
        files={
            "config.ru": "run App\n",
            "Gemfile": "",
            "Procfile": "web: bundle exec puma -p $PORT\nworker: sidekiq\n",
        },
    ),
    Case(says="`public/index.php` and `composer.json`", files={"public/index.php": "<?php\n", "composer.json": "{}"}),
    Case(says="`target/shop.jar`", files={"target/shop.jar": ""}),
    Case(says="`go.mod` with a `main.go`", files={"go.mod": "module example.com/shop\n", "main.go": "package main\n"}),
    Case(
        says="`command: uvicorn web:app --fd 3`",
        files={"web.py": ASGI, "requirements.txt": "uvicorn\n"},
        recipe={"command": ("uvicorn", "web:app", "--fd", "3")},
    ),
    Case(says="only a `README.md`", files={"README.md": "hello\n"}),
    Case(says="an archive, `.zip` or `.tar.gz`", files=W, pack=a_zip),
    Case(says="half an archive", files=W, pack=half_a_zip),
    Case(says="an archive with `../wsgi.py` in it", files=W, pack=leading_out),
    Case(says="an archive with a device in it", files=W, pack=with_a_device),
    Case(says="an archive that expands to 1000 times its size", files=W, pack=a_bomb),
    Case(says="`app.bundle` that is not a bundle", files={**W, "app.bundle": "x"}),
    Case(
        says="`vendor/` with wheels",
        files={**W, "requirements.txt": "bottle", "vendor/bottle-0.13.4-py3-none-any.whl": ""},
    ),
)


def outcome(case: Case, place: Path) -> str:
    """What is chosen, or what is said; of several lines the first."""
    source = place / "app"
    for name, text in case.files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    path = case.pack(source, place / "packed") if case.pack is not None else source
    try:
        snapshot(str(path), place / "code")
        program = serving_program(place / "code", Recipe(**case.recipe))
        if program is not None:
            return of_program(program)
        seen = select(place / "code", Recipe(**case.recipe), HOST)
        if seen.offline is not None and seen.offline.is_bundle:
            unpack_bundle(seen.offline.path, place / "bundle", seen.runtime, seen.dependencies)
        if case.read:
            asyncio.run(exported(seen, place))
    except StagingError as error:
        told = [line for line in str(error).replace(str(place), "…").splitlines() if line]
        return f"refused: {told[0]}{' …' if told[1:] else ''}"
    settings = "".join(f"; {name} = {value}" for name, value in seen.entry.gunicorn.items())
    settings += "".join(
        f"; before it serves: `{each}`" for each in (seen.commands.collect, seen.commands.release) if each
    )
    reported = "".join(f"; ignored: {each}" for each in seen.entry.reported)
    notes = "".join(f"; {note}" for note in seen.notes)
    supplied = f", packages from {seen.offline.name}" if seen.offline else ""
    return (
        f"{seen.entry.target} ({seen.entry.interface}), {seen.dependencies.file or 'no dependencies'}{supplied},"
        f" {seen.runtime.name} ({seen.because}){settings}{reported}{notes}"
    )


def of_program(program: ServingProgram) -> str:
    """What serves an app that is not Python's."""
    built = f", built by `{shlex.join(program.build)}`" if program.build else ""
    more = [*(f"ignored: {each}" for each in program.reported), *program.notes]
    return "; ".join((f"`{shlex.join(program.command)}` by {program.listen} ({program.because}){built}", *more))


async def exported(seen: Selection, place: Path) -> None:
    """Read the lock file, as far as that takes no tool but uv."""
    program = os.fsdecode(uv.find_uv_bin())
    exporter = Exporter(tools=Tools(place, place, program), uv=program, cache=place / "cache", runtimes=())
    # The interpreters of the table are made up, and to read a lock uv wants none.
    old = host("3.7.16")
    with Log(place / "log") as log:
        context = CommandContext(
            log=log, progress=lambda _: None, environment={"PATH": os.environ["PATH"], "HOME": str(place)}
        )
        lock = seen.dependencies.lock
        assert lock is not None
        runtime = seen.runtime if isinstance(lock.export, ExportByConversion) else old
        await exporter.export(place / "code", seen.dependencies, runtime, place / "locked.txt", context)


def row(case: Case, place: Path) -> str:
    said = outcome(case, place).replace("|", "\\|")
    return f"| {case.says} | {said} |"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [row(case, tmp_path_factory.mktemp("case")) for case in CASES]
    return "\n".join((BEGIN, "", "| input | outcome |", "|---|---|", *rows, "", END))


def test_the_table_says_what_staging_does(table: str) -> None:
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    if os.environ.get("RECONCILER_WRITE_TABLE"):
        DOCUMENT.write_text(before + table + after)
    assert (before + table + after).splitlines() == text.splitlines()
