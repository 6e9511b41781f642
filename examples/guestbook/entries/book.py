"""Where the entries are: in a table, or, when the app is bound to Redis, in a list."""

import json
from datetime import datetime, timezone

from django.conf import settings
from django.db import connection

from entries.models import Entry


class Table:
    def is_ready(self):
        return Entry._meta.db_table in connection.introspection.table_names()

    def write(self, form):
        form.save()

    def newest(self, count):
        return Entry.objects.all()[:count]


class List:
    def __init__(self, credentials):
        import redis

        self.key = credentials.get("prefix", "") + "entries"
        self.redis = redis.Redis.from_url(credentials["uri"], decode_responses=True)

    def is_ready(self):
        return True

    def write(self, form):
        now = datetime.now(timezone.utc)
        self.redis.lpush(self.key, json.dumps({**form.cleaned_data, "written": now.isoformat()}))

    def newest(self, count):
        for text in self.redis.lrange(self.key, 0, count - 1):
            entry = json.loads(text)
            yield {**entry, "written": datetime.fromisoformat(entry["written"])}


def book():
    return List(settings.REDIS) if settings.REDIS else Table()
