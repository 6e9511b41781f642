import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django_tasks import task  # noqa: E402  needs the settings
from work import work  # noqa: E402


@task()
def one(name: str, seconds: float) -> None:
    work(name, seconds)


def enqueue(name: str, seconds: float) -> None:
    one.enqueue(name, seconds)
