"""Where a project's settings put data beside its code."""

from pathlib import Path

import pytest

from reconciler.staging.detection.local_data import local_data

MANAGE = 'import django, os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
STARTPROJECT = """
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': BASE_DIR / 'db.sqlite3',
    }
}
AUTH_PASSWORD_VALIDATORS = [{'NAME': 'django.contrib.auth.password_validation.MinimumLengthValidator'}]
"""


def project(root: Path, settings: str, below: str = "") -> Path:
    (root / below / "shop").mkdir(parents=True)
    (root / below / "manage.py").write_text(MANAGE)
    (root / below / "shop" / "settings.py").write_text(settings)
    return root


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (STARTPROJECT, ("db.sqlite3",)),
        (STARTPROJECT + "MEDIA_ROOT = BASE_DIR / 'media'\n", ("db.sqlite3", "media/")),
        ("'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.path.join(BASE_DIR, 'data', 'it.db')", ("data/it.db",)),
        ("'ENGINE': 'django.db.backends.sqlite3', 'NAME': str(BASE_DIR / \"data\" / \"it.db\")", ("data/it.db",)),
        ("'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'it.db'", ("it.db",)),
        ("default = 'django.db.backends.sqlite3'; name = os.getenv('DB', BASE_DIR / 'it.sqlite3')", ("it.sqlite3",)),
        ("dj_database_url.config(default='sqlite:///%s' % os.path.join(BASE_DIR, 'data', 'it.db'))", ("data/it.db",)),
        ("DB = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': location('db.sqlite')}", ("db.sqlite",)),
        ('DATABASES = {"default": env.db(default="sqlite:///db.sqlite3")}', ("db.sqlite3",)),
        ("MEDIA_ROOT = os.path.join(BASE_DIR, 'uploads')\n", ("uploads/",)),
        ("'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'", ()),
        ("'ENGINE': 'django.db.backends.sqlite3', 'NAME': '/var/lib/it.db'", ()),
        ("'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / '..' / 'it.db'", ()),
        ("'ENGINE': 'django.db.backends.postgresql', 'NAME': 'shop'", ()),
        ("MEDIA_ROOT = '/srv/media'\n", ()),
        ("", ()),
    ],
)
def test_what_settings_name_inside_the_project_is_found(tmp_path: Path, settings: str, found: tuple[str, ...]) -> None:
    assert local_data(project(tmp_path, settings)) == found


def test_paths_are_relative_to_the_source(tmp_path: Path) -> None:
    assert local_data(project(tmp_path, STARTPROJECT, "site")) == ("site/db.sqlite3",)


def test_another_app_has_none(tmp_path: Path) -> None:
    assert local_data(tmp_path) == ()
    (tmp_path / "manage.py").write_text("print('no Django')\n")
    assert local_data(tmp_path) == ()


def test_the_database_of_an_app_that_is_configured_at_the_top_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(
        "class Config:\n    URI = os.environ.get('DATABASE_URL') or \\\n"
        "        'sqlite:///' + os.path.join(basedir, 'app.db')\n"
        "class Testing(Config):\n    URI = 'sqlite://'\n"
        "class Elsewhere(Config):\n    URI = 'sqlite:///' + os.path.join(basedir, '../app.db')\n"
    )
    assert local_data(tmp_path) == ("app.db",)
