"""What `init` proposes beyond what staging finds: variables, the command of migrations, extras."""

from pathlib import Path

import pytest

from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.missing_extras import missing_extras
from reconciler.staging.detection.release_advice import migration
from reconciler.staging.detection.required_variables import required_variables

WEB = "import config, flask\napp = flask.Flask('x')\n"
MANAGE = "import os, django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
UNNAMED = "import django\n"
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
DJANGO = {"manage.py": MANAGE, "shop/__init__.py": "", "shop/wsgi.py": WSGI}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(root: Path) -> list[str]:
    return [each.name for each in required_variables(root, detect(root, None))]


@pytest.mark.parametrize(
    ("config", "required"),
    [
        ("import os\nKEY = os.environ['KEY']\nclass Live:\n    HOST = os.environ['HOST'].lower()\n", ["KEY", "HOST"]),
        ("from os import environ\nKEY = environ['KEY']\n", ["KEY"]),
        ("import os\nKEY = os.environ.get('KEY')\nX = os.getenv('X')\nos.environ['Y'] = '1'\n", []),
        ("import os\ndef late():\n    return os.environ['KEY']\n", []),
        ("import os\ntry:\n    KEY = os.environ['KEY']\nexcept KeyError:\n    KEY = ''\n", []),
        ("import os\nif 'KEY' in os.environ:\n    KEY = os.environ['KEY']\n", []),
        ("import os\nKEY = os.environ['KEY'] if live else ''\n", []),
        (
            "from decouple import config\nKEY = config('KEY')\nD = config('D', default=1)\nB = config('B', cast=bool)",
            ["KEY", "B"],
        ),
        ("import environ\nenv = environ.Env()\nenv.read_env('.env')\nKEY = env('KEY')\nD = env.str('D', 'd')", ["KEY"]),
        ("from environs import Env\nenv = Env()\nenv.read_env()\nKEY = env.str('KEY')\n", ["KEY"]),
        ("import environ\nenv = environ.Env(KEY=(str, ''))\nKEY = env('KEY')\n", []),
        (
            (
                "from pydantic_settings import BaseSettings\nclass Settings(BaseSettings):\n    key: str\n"
                "    port: int = 80\n    name: str = Field(...)\n"
                "    url: str = Field(alias='URL')\n    size: int = Field(default=1)\n"
            ),
            ["KEY", "NAME", "URL"],
        ),
        (
            (
                "from pydantic import BaseSettings\nclass Settings(BaseSettings):\n    key: str\n"
                "    class Config:\n        env_prefix = 'shop_'\n"
            ),
            ["SHOP_KEY"],
        ),
        ("from pydantic import BaseModel\nclass Item(BaseModel):\n    key: str\n", []),
        ("import (", []),
    ],
)
def test_a_variable_without_a_default_is_named(tmp_path: Path, config: str, required: list[str]) -> None:
    assert names(plant(tmp_path, {"app.py": WEB, "config.py": config})) == required


def test_a_variable_that_a_file_of_the_code_sets_is_not_named(tmp_path: Path) -> None:
    config = "import os\nKEY = os.environ['KEY']\nHOST = os.environ['HOST']\n"
    plant(tmp_path, {"app.py": WEB, "config.py": config, ".env": "# of us\nexport KEY=1\n"})
    (found,) = required_variables(tmp_path, detect(tmp_path, None))
    assert (found.name, found.file, found.value) == ("HOST", "config.py", "")


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        ("import os\nSECRET_KEY = os.environ.get('SECRET_KEY') or None\n", ["SECRET_KEY"]),
        ("import os\nSECRET_KEY = os.getenv('DJANGO_KEY', '')\n", ["DJANGO_KEY"]),
        ("import os\nSECRET_KEY = os.getenv('SECRET_KEY', 'unsafe')\n", []),
        ("import os\nSECRET_KEY = os.getenv('SECRET_KEY') or 'unsafe'\n", []),
        ("import os\nif v := os.getenv('ALLOWED_HOSTS'):\n    ALLOWED_HOSTS = v.split(',')\n", ["ALLOWED_HOSTS"]),
        ("import os\nALLOWED_HOSTS = os.environ.get('ALLOWED_HOSTS', '*').split(',')\n", []),
    ],
)
def test_what_django_needs_is_named(tmp_path: Path, settings: str, required: list[str]) -> None:
    assert names(plant(tmp_path, {**DJANGO, "shop/settings.py": settings})) == required


def test_settings_that_nothing_names_are_proposed(tmp_path: Path) -> None:
    key = "import os\nSECRET_KEY = os.environ['KEY']\n"
    files = {
        "shop/settings/__init__.py": "",
        "shop/settings/base.py": key,
        "shop/settings/dev.py": "from .base import *",
    }
    plant(tmp_path, {**DJANGO, **files, "manage.py": UNNAMED})
    found = required_variables(tmp_path, detect(tmp_path, None))
    assert [(each.name, each.value) for each in found] == [
        ("DJANGO_SETTINGS_MODULE", "shop.settings.base"),
        ("KEY", ""),
    ]


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({**DJANGO, "shop/settings.py": ""}, "python manage.py migrate --noinput"),
        (
            {f"site/{name}": text for name, text in {**DJANGO, "shop/settings.py": ""}.items()},
            "python manage.py migrate --noinput",
        ),
        (
            {"app.py": "import flask, flask_migrate\napp = flask.Flask('x')\n", "migrations/env.py": ""},
            "FLASK_APP=app.py flask db upgrade",
        ),
        (
            {"shop/__init__.py": "import flask, flask_migrate\napp = flask.Flask('x')\n", "migrations/env.py": ""},
            "FLASK_APP=shop:app flask db upgrade",
        ),
        ({"app.py": "import flask\napp = flask.Flask('x')\n", "migrations/env.py": ""}, ""),
        ({"app.py": "import fastapi\napp = fastapi.FastAPI()\n", "alembic.ini": ""}, "alembic upgrade head"),
        ({"app.py": "import fastapi\napp = fastapi.FastAPI()\n"}, ""),
    ],
)
def test_the_command_of_migrations_is_that_of_the_directory_where_it_runs(
    tmp_path: Path, files: dict[str, str], command: str
) -> None:
    assert migration(tmp_path, detect(plant(tmp_path, files), None)) == command


@pytest.mark.parametrize(
    ("project", "extras"),
    [
        (
            "dependencies = ['django']\n[project.optional-dependencies]\nweb = ['sorl-thumbnail', 'django-environ']",
            ("web",),
        ),
        (
            (
                "dependencies = ['django']\n[project.optional-dependencies]\ndocs = ['sorl-thumbnail']\n"
                "test = ['django-environ', 'sorl-thumbnail>=1', 'pytest']"
            ),
            ("test",),
        ),
        (
            "dependencies = ['django']\n[project.optional-dependencies]\none = ['sorl-thumbnail']\ntwo = ['environ']",
            ("one", "two"),
        ),
        ("dependencies = ['django-environ', 'sorl-thumbnail']\n[project.optional-dependencies]\nweb = ['environ']", ()),
        ("dependencies = ['django']", ()),
    ],
)
def test_the_extra_that_installs_what_the_settings_use_is_named(
    tmp_path: Path, project: str, extras: tuple[str, ...]
) -> None:
    settings = "import environ, os\nINSTALLED_APPS = ['django.contrib.auth', 'sorl.thumbnail', 'shop']\n"
    files = {**DJANGO, "shop/settings.py": settings}
    plant(tmp_path, {**files, "pyproject.toml": f"[project]\nname = 'shop'\nversion = '1'\n{project}\n"})
    found = dependencies(tmp_path, DependencyOptions())
    assert missing_extras(tmp_path, detect(tmp_path, None), found) == extras
