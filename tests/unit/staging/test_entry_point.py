"""What is found to serve in an app's code, without importing it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.staging.detection import django
from reconciler.staging.detection.entry_point import EntryPoint, detect
from reconciler.staging.detection.target import loadable, write_app
from reconciler.staging.errors import StagingError

WSGI = "def application(environ, start_response):\n    return []\n"
ASGI = "async def app(scope, receive, send):\n    pass\n"
FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\n\n\ndef create_app(config=None):\n    made = Flask(__name__)\n    return made\n"
MANAGE = "import django, os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n"
DJANGO_WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
DJANGO_ASGI = "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n"


def plant(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "asked", "found"),
    [
        pytest.param({"wsgi.py": WSGI}, None, "wsgi:application wsgi", id="plain"),
        pytest.param({"wsgi.py": FLASK}, None, "wsgi:app wsgi", id="plain, called app"),
        pytest.param({"wsgi.py": "from app import app", "app.py": FLASK}, None, "wsgi:app wsgi", id="imported"),
        pytest.param({"wsgi.py": "def application(e, s):\n print 1"}, None, "wsgi:application wsgi", id="python 2"),
        pytest.param({"wsgi.py": "application = make()"}, None, "wsgi:application wsgi", id="unknown, so by its name"),
        pytest.param({"wsgi.py": WSGI, "asgi.py": ASGI}, None, "wsgi:application wsgi", id="both"),
        pytest.param({"app.py": FLASK, "main.py": "def add(a, b): ..."}, None, "app:app wsgi", id="a mere function"),
        pytest.param({"main.py": "def web(e, s):\n    s('200 OK', [])"}, None, "main:web wsgi", id="by what it calls"),
        pytest.param({"app.py": "print 'on'\ndef app(e, s): ..."}, None, "app:app wsgi", id="app.py of python 2"),
        pytest.param({"app.py": FACTORY}, None, "app:create_app() wsgi", id="a factory, as flask run finds it"),
        pytest.param({"notes/__init__.py": FACTORY}, None, "notes:create_app() wsgi", id="a factory in a package"),
        pytest.param({"src/notes/__init__.py": FACTORY}, None, "notes:create_app() wsgi", id="the same below src"),
        pytest.param(
            {"app/__init__.py": "", "app/main.py": "import fastapi\napp = fastapi.FastAPI()",
             "tests/__init__.py": FLASK},
            None, "app.main:app asgi", id="fastapi in a package",
        ),
        pytest.param({"app/main.py": FLASK, "app/other.py": ""}, None, "main:app wsgi", id="a directory, no package"),
        pytest.param({"application.py": FLASK.replace("app =", "application =")}, None, "application:application wsgi",
                     id="elastic beanstalk"),
        pytest.param({"run.py": "from shop import app\nif __name__ == '__main__':\n    app.run()", "shop.py": FLASK,
                      "other.py": ""}, None, "run:app wsgi", id="run.py that imports it"),
        pytest.param({"passenger_wsgi.py": WSGI}, None, "passenger_wsgi:application wsgi", id="passenger"),
        pytest.param({"microblog.py": "from app import make\napp = make()",
                      "app/__init__.py": FACTORY.replace("create_app", "make")}, None,
                     "microblog:app wsgi", id="the only file that holds one"),
        pytest.param({".flaskenv": "FLASK_APP=shop.py\n", "shop.py": FLASK, "app.py": FLASK}, None, "shop:app wsgi",
                     id="flaskenv"),
        pytest.param({"pyproject.toml": "[tool.fastapi]\nentrypoint = 'web.api:api'",
                      "web/api.py": "from fastapi import FastAPI\napi = FastAPI()",
                      "app.py": FLASK}, None, "web.api:api asgi", id="pyproject of fastapi"),
        pytest.param({"gunicorn.conf.py": "wsgi_app = 'shop:app'", "shop.py": FLASK, "wsgi.py": WSGI}, None,
                     "shop:app wsgi", id="gunicorn.conf.py"),
        pytest.param({"main.py": "from fasthtml.common import fast_app\napp, rt = fast_app()"}, None, "main:app asgi",
                     id="fasthtml"),
        pytest.param(
            {"box/__init__.py": "", "box/manage.py": MANAGE.replace("site1", "box"), "box/settings.py": "",
             "box/wsgi.py": DJANGO_WSGI},
            None, "box.wsgi:application wsgi chdir=box pythonpath=('',)", id="django inside a package",
        ),
        pytest.param({"asgi.py": ASGI}, None, "asgi:app asgi", id="asgi"),
        pytest.param({"asgi.py": "x = 1", "main.py": FLASK}, None, "main:app wsgi", id="asgi.py without an app"),
        pytest.param({"app.py": FLASK}, None, "app:app wsgi", id="flask"),
        pytest.param({"app.py": "import flask as f\nx = f.Flask('x')"}, None, "app:x wsgi", id="flask, oddly named"),
        pytest.param({"main.py": "from fastapi import FastAPI\napi = FastAPI()"}, None, "main:api asgi", id="fastapi"),
        pytest.param(
            {"server.py": "from starlette.applications import Starlette\napp: Starlette = Starlette()"},
            None, "server:app asgi", id="starlette",
        ),
        pytest.param({"app.py": "import falcon.asgi\napp = falcon.asgi.App()"}, None, "app:app asgi", id="falcon asgi"),
        pytest.param({"app.py": "import falcon\napp = falcon.App()"}, None, "app:app wsgi", id="falcon"),
        pytest.param({"app.py": f"try:\n  import x\nfinally:\n  x\n{FLASK}"}, None, "app:app wsgi", id="after try"),
        pytest.param(
            {"app.py": "class A:\n  async def __call__(self, scope, receive, send): ...\napp = A()"},
            None, "app:app asgi", id="an instance of a class",
        ),
        pytest.param(
            {"app.py": f"{FLASK}from werkzeug.middleware.proxy_fix import ProxyFix\napp = ProxyFix(app)"},
            None, "app:app wsgi", id="wrapped",
        ),
        pytest.param(
            {"main.py": "from pkg import create_app\napp = create_app()",
             "pkg/__init__.py": "from .inner import create_app",
             "pkg/inner.py": "def create_app():\n    from fastapi import FastAPI\n    it = FastAPI()\n    return it"},
            None, "main:app asgi", id="made by a factory elsewhere",
        ),
        pytest.param({"a.py": "from b import app", "b.py": "from a import app"}, "a:app", "a:app wsgi", id="a cycle"),
        pytest.param({"pkg/web.py": ASGI}, "pkg.web:app", "pkg.web:app asgi", id="asked for"),
        pytest.param({"web.py": ASGI}, "web", "web:app asgi", id="asked for, without the callable"),
        pytest.param(
            {"web.py": "def create_app(config=None):\n    from quart import Quart\n    return Quart('x')"},
            "web:create_app()", "web:create_app() asgi", id="a factory",
        ),
        pytest.param({"x.py": ""}, "installed.asgi:app", "installed.asgi:app asgi", id="from a package"),
        pytest.param({"x.py": "globals()['app'] = 1"}, "x:app", "x:app wsgi", id="bound dynamically"),
        pytest.param(
            {"manage.py": MANAGE, "site1/settings.py": "", "site1/wsgi.py": DJANGO_WSGI, "site1/asgi.py": DJANGO_ASGI},
            None, "site1.wsgi:application wsgi", id="django",
        ),
        pytest.param(
            {"manage.py": MANAGE.replace("site1.settings", "conf.settings.live"), "conf/wsgi.py": DJANGO_WSGI,
             "other/wsgi.py": DJANGO_WSGI},
            None, "conf.wsgi:application wsgi", id="django, settings in a package",
        ),
        pytest.param(
            {"manage.py": MANAGE, "site1/settings.py": "", "site1/asgi.py": DJANGO_ASGI},
            None, "site1.asgi:application asgi", id="django, asgi only",
        ),
        pytest.param(
            {"manage.py": "from django.core.management import execute_manager\nimport settings", "settings.py": ""},
            None, "reconciler_wsgi:application wsgi settings=settings", id="django, old layout",
        ),
        pytest.param(
            {"manage.py": MANAGE, "site1/settings.py": ""},
            None, "reconciler_wsgi:application wsgi settings=site1.settings", id="django without wsgi.py",
        ),
        pytest.param(
            {"README": "", "src/web/manage.py": MANAGE, "src/web/site1/wsgi.py": DJANGO_WSGI},
            None, "site1.wsgi:application wsgi chdir=src/web", id="django, two down",
        ),
    ],
)  # fmt: skip
def test_the_entry_point_is_found(tmp_path: Path, files: dict[str, str], asked: str | None, found: str) -> None:
    assert shown(detect(plant(tmp_path, files), asked)) == found


@pytest.mark.parametrize(
    ("files", "asked", "says"),
    [
        (
            {"README": ""},
            None,
            "cannot find the entry point: searched for a web line .* The source contains README. Set `entrypoint",
        ),
        ({"wsgi.py": "x = 1"}, None, "cannot find the entry point"),
        (
            {"wsgi.py": "x = 1\ndef broken(:\n"},
            None,
            r"cannot find the entry point: wsgi.py is no valid Python 3\.\d+: line 2: invalid syntax\. The source",
        ),
        ({"app.py": "def helper(a, b): ..."}, "app:application", "app.py does not define application, only helper"),
        ({"app.py": FLASK}, "app:app:x", "it must have the form module:callable"),
        ({"app.py": FLASK}, "not a module", "it must have the form module:callable"),
        (
            {"shop.py": "class Shop: ..."},
            "shop:Shop()[0]",
            r"the form module:callable, module:factory",
        ),
        (
            {"shop.py": "def create_app():\n    return flask.Flask('x')"},
            "shop:create_app",
            r"create_app is a function without parameters, not an app; did you mean shop:create_app\(\)\?",
        ),
        (
            {"shop/__init__.py": "from .site import create_app", "shop/site.py": FACTORY},
            "shop:create_app",
            r"create_app is a function that needs no argument, not an app; did you mean shop:create_app\(\)\?",
        ),
        (
            {"shop.py": "class Shop:\n    def __call__(self, environ, start_response): ..."},
            "shop:Shop",
            r"Shop is a class whose instances are apps, not an app; did you mean shop:Shop\(\)\?",
        ),
        (
            {"manage.py": MANAGE},
            None,
            "cannot find the entry point: manage.py names the settings module site1.settings, which is not in the",
        ),
        (
            {f".tool{number}": "" for number in range(20)}
            | {f"m{n}.txt": "" for n in range(14)}
            | {"x.py": "", "d/a": ""},
            None,
            r"The source contains d/, x\.py, m0\.txt, .* and 4 more\. Set `entrypoint",
        ),
        ({"a/__init__.py": FACTORY, "b/__init__.py": FACTORY}, None, r"between a:create_app\(\), b:create_app\(\)"),
        ({"app.py": FLASK, "main.py": FLASK}, None, "cannot choose between app:app, main:app: set `entrypoint`"),
        ({"main.py": FLASK.replace("app =", "a = b =")}, None, "cannot choose between main:a, main:b"),
        ({"a/manage.py": MANAGE, "b/manage.py": MANAGE}, None, "cannot choose between a/manage.py, b/manage.py"),
        ({"manage.py": "import django", "a/wsgi.py": "", "b/wsgi.py": ""}, None, "between a.wsgi, b.wsgi"),
    ],
)
def test_what_cannot_be_told_is_an_error_with_the_way_out(
    tmp_path: Path, files: dict[str, str], asked: str | None, says: str
) -> None:
    with pytest.raises(StagingError, match=says):
        detect(plant(tmp_path, files), asked)


def test_what_only_gunicorn_19_loads_is_refused_with_any_newer_one() -> None:
    entry = EntryPoint(target="web:create_app(Config)", interface="wsgi", because="the web line of Procfile")
    assert loadable(entry, "19.10.0") == entry
    plain = replace(entry, target="web:create_app('live')")
    assert loadable(plain, "27.0.1") == plain
    with pytest.raises(StagingError, match=r"of the web line of Procfile: gunicorn 20\.0\.4 loads a name, or a call"):
        loadable(entry, "20.0.4")


@pytest.mark.parametrize("target", ["web:site.wsgi", "web:Shop(debug=False).app()", "web:Shop().app().wsgi"])
def test_what_more_than_one_call_makes_is_made_by_a_module_that_is_written(tmp_path: Path, target: str) -> None:
    entry = loadable(EntryPoint(target=target, interface="wsgi", because="x"), "27.0.1")
    assert (entry.target, entry.expression) == ("reconciler_app:application", target)
    write_app(tmp_path, target)
    (tmp_path / "web.py").write_text(
        "class Shop:\n    wsgi = 'made'\n    def __init__(self, **_): ...\n"
        "    def app(self): return self\nsite = Shop()"
    )
    show = "import reconciler_app as r; print(getattr(r.application, 'wsgi', r.application))"
    done = subprocess.run([sys.executable, "-c", show], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "made\n"


@pytest.mark.parametrize(
    ("text", "interface"),
    [
        ("from datasette.app import Datasette\napp = Datasette(memory=True).app()\n", "asgi"),
        ("import datasette.app\napplication = datasette.app.Datasette([]).app()\n", "asgi"),
        ("from datasette.app import Datasette\nds = Datasette([])\napp = ds.app()\n", "asgi"),
        ("from shop import Shop\napp = Shop(1).app()\n", "wsgi"),
        ("from shop import Shop\nshop = Shop(1)\napplication = shop.wsgi(debug=False)\n", "wsgi"),
    ],
)
def test_an_app_that_a_method_returns_is_found(tmp_path: Path, text: str, interface: str) -> None:
    found = detect(plant(tmp_path, {"app.py": text}), None)
    assert (found.target.partition(":")[0], found.interface) == ("app", interface)


@pytest.mark.parametrize(
    ("returns", "interface"),
    [
        ("return Starlette()", "asgi"),
        ("made = Router()\n        made = Lifespan(made)\n        return made", "asgi"),
        ("return Flask('x')", "wsgi"),
        ("return self.app()", "wsgi"),
        ("return Shop().app()", "wsgi"),
        ("return self.made", "wsgi"),
    ],
)
def test_what_a_method_of_a_class_of_the_code_returns_has_an_interface(
    tmp_path: Path, returns: str, interface: str
) -> None:
    shop = (
        "from starlette.applications import Starlette\nfrom flask import Flask\n"
        "class Router: ...\n"
        "class Lifespan:\n    async def __call__(self, scope, receive, send): ...\n"
        f"class Shop:\n    def app(self):\n        {returns}\n"
    )
    files = {"shop/__init__.py": "", "shop/web.py": shop, "app.py": "from shop.web import Shop\napp = Shop().app()\n"}
    code = plant(tmp_path, files)
    assert detect(code, None).interface == interface
    assert detect(code, "shop.web:Shop().app()").interface == interface


@pytest.mark.parametrize(
    "text",
    [
        "import typer\napp = typer.Typer()\n",
        "from celery import Celery\napp = Celery()\n",
        "from shop import Shop\nother = Shop(1).app()\n",
        "import shop\napp = shop.current.app()\n",
    ],
)
def test_what_no_method_of_an_object_returns_is_not_taken_for_an_app(tmp_path: Path, text: str) -> None:
    with pytest.raises(StagingError, match="cannot find the entry point"):
        detect(plant(tmp_path, {"app.py": text}), None)


def test_an_entry_point_in_a_package_that_is_known_has_its_interface(tmp_path: Path) -> None:
    target = "datasette.app:Datasette(memory=True).app()"
    installed = detect(plant(tmp_path, {"x.py": ""}), target)
    assert (installed.target, installed.interface, installed.installed) == (target, "asgi", True)
    own = {"datasette/__init__.py": "", "datasette/app.py": "class Datasette:\n    def app(self): ...\n"}
    assert detect(plant(tmp_path, own), target).interface == "asgi"


def test_a_file_that_nothing_asks_for_may_be_no_program(tmp_path: Path) -> None:
    code = plant(tmp_path, {"shop.py": FLASK})
    with (code / "rows.py").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(code / "pipe.py")
    assert detect(code, None).target == "shop:app"


def test_the_generated_module_runs_on_any_python(tmp_path: Path) -> None:
    django.write_module(tmp_path, "site1.settings")
    text = (tmp_path / "reconciler_wsgi.py").read_text()
    assert '"DJANGO_SETTINGS_MODULE", "site1.settings"' in text
    compile(text, "reconciler_wsgi.py", "exec")


def shown(entry: EntryPoint) -> str:
    beside = entry.pythonpath if entry.pythonpath == ("",) else None
    rest = {"chdir": entry.chdir, "settings": entry.settings, "pythonpath": beside}
    return " ".join((entry.target, entry.interface, *(f"{name}={value}" for name, value in rest.items() if value)))
