"""Settings of the guestbook. Its entries are with the service it is bound to; without one, in a database under $HOME,
which an app keeps for itself across deploys."""

import json
import os
import pathlib
import secrets
import socket

import dj_database_url

BASE_DIR = pathlib.Path(__file__).resolve().parent.parent
HOME = pathlib.Path(os.environ["HOME"])


def kept_secret(path):
    """The secret in a file, made up by whichever worker comes first."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50), encoding="ascii")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii")


def bound_service():
    """The credentials of the one service the app is bound to."""
    services = json.loads(os.environ.get("VCAP_SERVICES", "{}"))
    return next((entry["credentials"] for entries in services.values() for entry in entries), {})


def known_hosts():
    """This machine's names, and those the platform gave to the app."""
    uris = json.loads(os.environ.get("VCAP_APPLICATION", "{}")).get("uris") or []
    extra = os.environ.get("ALLOWED_HOSTS", "").split(",")
    names = ["localhost", "127.0.0.1", "[::1]", socket.gethostname(), *(uri.split(":")[0] for uri in uris), *extra]
    return [name.strip() for name in names if name.strip()]


SECRET_KEY = os.environ.get("SECRET_KEY") or kept_secret(HOME / "guestbook.secret")
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = known_hosts()

INSTALLED_APPS = ["django.contrib.staticfiles", "entries"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "guestbook.urls"
WSGI_APPLICATION = "guestbook.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
SERVICE = bound_service()
# What is no database of Django's keeps the entries itself; the tables are then made here, and stay empty.
REDIS = SERVICE if SERVICE.get("uri", "").startswith(("redis", "unix")) else None
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HOME / "guestbook.sqlite3"}
    if REDIS or not SERVICE
    else dj_database_url.parse(SERVICE["uri"], conn_max_age=60)
}
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    import pymysql

    pymysql.version_info = (2, 2, 8, "final", 0)  # what Django asks of mysqlclient
    pymysql.install_as_MySQLdb()
elif DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {"timeout": 10}
# Collected into the release itself, so that a page and its style are always of the same one.
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "collected"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
