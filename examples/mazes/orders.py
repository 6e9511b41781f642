"""The queue: a table in SQLite under $HOME, which the site, its workers and its schedule share across deploys."""

import os
import pathlib
import sqlite3
from contextlib import contextmanager
from datetime import datetime, timezone

# Longer than a maze takes: an order whose worker was killed is taken by another one after it.
ABANDONED_AFTER_S = 60

TABLE = """CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, size INTEGER NOT NULL, ordered_at REAL NOT NULL,
    taken_at REAL, taken_by TEXT, drawn_at REAL, drawing TEXT
)"""


def now():
    return datetime.now(timezone.utc).timestamp()


@contextmanager
def database():
    """A connection whose transaction begins by locking the file: two workers never take one order."""
    connection = sqlite3.connect(pathlib.Path(os.environ["HOME"], "mazes.sqlite3"), timeout=10, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(TABLE)
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def place(size):
    with database() as orders:
        orders.execute("INSERT INTO orders (size, ordered_at) VALUES (?, ?)", (size, now()))


def take(worker):
    """The oldest order that no living worker has; None if there is none."""
    at = now()
    with database() as orders:
        order = orders.execute(
            "SELECT id, size FROM orders WHERE drawing IS NULL AND (taken_at IS NULL OR taken_at < ?) ORDER BY id",
            (at - ABANDONED_AFTER_S,),
        ).fetchone()
        if order is not None:
            orders.execute("UPDATE orders SET taken_at = ?, taken_by = ? WHERE id = ?", (at, worker, order["id"]))
        return order


def finish(order, drawing):
    with database() as orders:
        orders.execute("UPDATE orders SET drawn_at = ?, drawing = ? WHERE id = ?", (now(), drawing, order))


def remove_older_than(seconds):
    """Remove what was drawn longer ago; returns how many."""
    with database() as orders:
        return orders.execute("DELETE FROM orders WHERE drawn_at < ?", (now() - seconds,)).rowcount


def newest(limit):
    with database() as orders:
        return orders.execute("SELECT * FROM orders ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
