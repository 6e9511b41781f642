"""Mazes: a site that does nothing itself. It takes orders; its worker draws them, and a schedule clears up."""

from datetime import datetime, timezone
from urllib.parse import urlsplit

import orders
from flask import Flask, abort, redirect, render_template, request, url_for

SIZES = (8, 16, 32)
SHOWN = 12

app = Flask(__name__)


@app.before_request
def refuse_other_sites():
    """A form on somebody else's page must not order here."""
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin and urlsplit(origin).netloc != request.host:
        abort(403)


@app.template_filter()
def moment(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%H:%M:%S UTC")


@app.get("/")
def index():
    shown = orders.newest(SHOWN)
    waiting = any(order["drawing"] is None for order in shown)
    return render_template("index.html", orders=shown, sizes=SIZES, waiting=waiting)


@app.post("/orders")
def order():
    size = request.form.get("size", type=int)
    if size not in SIZES:
        abort(400)
    orders.place(size)
    return redirect(url_for("index"), code=303)


@app.get("/healthz")
def health():
    orders.newest(1)
    return "ok\n", {"Content-Type": "text/plain"}
