"""Notes: a Flask app with templates. The notes are in SQLite under $HOME, which an app keeps for itself across
deploys and restarts, so any number of workers may write them."""

import os
import pathlib
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from urllib.parse import urlsplit

from flask import Flask, abort, redirect, render_template, request, url_for

LONGEST_NOTE = 500
NOTES_SHOWN = 100

app = Flask(__name__)


def database():
    connection = sqlite3.connect(pathlib.Path(os.environ["HOME"], "notes.sqlite3"), timeout=10)
    connection.row_factory = sqlite3.Row
    connection.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL, at TEXT NOT NULL)")
    return closing(connection)


@app.before_request
def refuse_other_sites():
    """A form on somebody else's page must not write here."""
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin and urlsplit(origin).netloc != request.host:
        abort(403)


@app.get("/")
def index():
    with database() as connection:
        notes = connection.execute("SELECT * FROM note ORDER BY id DESC LIMIT ?", (NOTES_SHOWN,)).fetchall()
    title = os.environ.get("NOTES_TITLE", "Notes")
    return render_template("index.html", title=title, notes=notes, longest=LONGEST_NOTE)


@app.post("/notes")
def add():
    text = request.form.get("text", "").strip()[:LONGEST_NOTE]
    if text:
        at = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")
        with database() as connection, connection:
            connection.execute("INSERT INTO note (text, at) VALUES (?, ?)", (text, at))
    return redirect(url_for("index"), code=303)


@app.post("/notes/<int:note>/remove")
def remove(note):
    with database() as connection, connection:
        connection.execute("DELETE FROM note WHERE id = ?", (note,))
    return redirect(url_for("index"), code=303)


@app.get("/healthz")
def health():
    with database() as connection:
        connection.execute("SELECT 1")
    return "ok\n", {"Content-Type": "text/plain"}
