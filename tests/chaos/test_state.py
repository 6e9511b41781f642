"""The state directory is damaged: what runs goes on, is recognised by its own marks, and keeps its port."""

import sqlite3
from contextlib import closing

import pytest

from tests.support.eventually import eventually
from tests.support.site import Site


@pytest.mark.parametrize("damage", ["gone", "garbage", "cut short", "cut to nothing", "young and without its log"])
def test_a_lost_database_restarts_nothing(site: Site, damage: str) -> None:
    site.source("blog")
    site.manifest("blog")  # its port is leased
    site.app("shop", workers=2)
    daemon = site.live()
    eventually(lambda: site.settled("blog", "shop"))
    pids, port = site.pids(), site.told("blog")["port"]
    site.end(daemon)
    for extra in ("-wal", "-shm"):
        site.paths.database.with_name(site.paths.database.name + extra).unlink(missing_ok=True)
    content = site.paths.database.read_bytes()
    match damage:
        case "gone":
            site.paths.database.unlink()
        case "garbage":
            site.paths.database.write_bytes(b"no database at all" * 1000)
        case "cut short":
            site.paths.database.write_bytes(content[: len(content) // 2 + 100])
        case "cut to nothing":
            site.paths.database.write_bytes(b"")
        case _:
            site.paths.database.unlink()
            with closing(sqlite3.connect(site.paths.database)) as database:
                database.execute("PRAGMA journal_mode=WAL")  # the header is all that was not in the log
    aside = damage in {"garbage", "cut short"}
    site.live()
    if aside:
        eventually(lambda: list(site.state.glob("reconciler.db.damaged-*")))
    eventually(lambda: site.paths.database.exists() and site.settled("blog", "shop"))
    assert (site.pids(), site.told("blog")["port"]) == (pids, port)
    if aside:
        assert min(site.state.glob("reconciler.db.damaged-*")).stat().st_size > 0
