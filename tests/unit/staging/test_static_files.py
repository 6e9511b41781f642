"""Whether a Django project has static files to collect, and how."""

from pathlib import Path

import pytest

from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.static_files import StaticFiles, static_files

MANAGE = "import django, os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{0}')\n"
WSGI = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{0}')\napplication = 1\n"
INSTALLED = "INSTALLED_APPS = ['django.contrib.staticfiles']\n"
ROOT = "STATIC_ROOT = BASE_DIR / 'collected'\n"
COLLECT = "python manage.py collectstatic --noinput"
NO_ROOT = ("django.contrib.staticfiles (nothing is collected, as the settings have no STATIC_ROOT)",)


def plant(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"wsgi.py": "application = 1", "settings.py": INSTALLED + ROOT}, StaticFiles()),
        (
            {
                "manage.py": MANAGE.format("site1.settings"),
                "site1/settings.py": INSTALLED + ROOT,
                "site1/wsgi.py": WSGI,
            },
            StaticFiles(collect=COLLECT),
        ),
        (
            {"manage.py": MANAGE.format("site1.settings"), "site1/settings.py": INSTALLED, "site1/wsgi.py": WSGI},
            StaticFiles(reported=NO_ROOT),
        ),
        (
            {"manage.py": MANAGE.format("settings"), "settings.py": f"{INSTALLED}# {ROOT}STATIC_ROOT = None\n"},
            StaticFiles(reported=NO_ROOT),
        ),
        ({"manage.py": MANAGE.format("settings"), "settings.py": f"# {INSTALLED}{ROOT}"}, StaticFiles()),
        (
            {
                "manage.py": MANAGE.format("conf.settings.local"),
                "conf/settings/local.py": "from .base import *\n",
                "conf/settings/base.py": "from conf.shared import *\n" + ROOT,
                "conf/shared.py": "from .settings.local import *\n" + INSTALLED,
                "conf/wsgi.py": WSGI.format("conf.settings.local"),
            },
            StaticFiles(collect=COLLECT),
        ),
        (
            {
                "manage.py": MANAGE.format("conf.local"),
                "conf/local.py": INSTALLED,
                "conf/live.py": INSTALLED + ROOT,
                "conf/wsgi.py": WSGI.format("conf.live"),
            },
            StaticFiles(collect=f'DJANGO_SETTINGS_MODULE="${{DJANGO_SETTINGS_MODULE:-conf.live}}" {COLLECT}'),
        ),
        (
            {"a b/manage.py": MANAGE.format("settings"), "a b/settings.py": INSTALLED + ROOT},
            StaticFiles(collect=COLLECT),
        ),
        (
            {
                "Procfile": "web: gunicorn --chdir srv wsgi",
                "manage.py": MANAGE.format("srv.settings"),
                "srv/settings.py": INSTALLED + ROOT,
                "srv/wsgi.py": "application = 1",
            },
            StaticFiles(collect="python ../manage.py collectstatic --noinput"),
        ),
    ],
)
def test_static_files_are_collected_where_the_settings_say_where_to(
    tmp_path: Path, files: dict[str, str], found: StaticFiles
) -> None:
    code = plant(tmp_path, files)
    assert static_files(code, detect(code, None)) == found


def test_the_release_line_runs_at_the_top_wherever_the_app_is(tmp_path: Path) -> None:
    lines = "release: python x.py; true\nweb: gunicorn --chdir srv/web wsgi\n"
    entry = detect(plant(tmp_path, {"Procfile": lines, "srv/web/wsgi.py": "application = 1", "x.py": ""}), None)
    assert (entry.chdir, entry.release) == ("srv/web", "cd ../.. && python x.py; true")


@pytest.mark.parametrize(
    ("line", "followed"),
    [
        ("python manage.py migrate", False),
        ("true && python -u manage.py migrate", False),
        ("python -m manage.py", True),
        ("cd other && python manage.py migrate", True),
        ("python 'unclosed", True),
        ("./manage.py migrate", True),
    ],
)
def test_a_release_line_whose_program_is_not_in_the_source_is_reported(
    tmp_path: Path, line: str, followed: bool
) -> None:
    code = plant(tmp_path, {"Procfile": f"release: {line}\n", "wsgi.py": "application = 1"})
    entry = detect(code, None)
    absent = f"the release line of Procfile, `{line}` (there is no manage.py in the source)"
    assert (entry.release, entry.reported) == ((line, ()) if followed else ("", (absent,)))
