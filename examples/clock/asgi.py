"""A clock without a framework: an ASGI app that serves a page and a stream of ticks as server-sent events.

A stream ends after ten ticks and the browser comes back by itself, so a hand-over to a new instance never waits
long for a page that somebody left open.
"""

import asyncio
import math
import pathlib
import string
from datetime import datetime, timezone

PAGE = string.Template(pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
TICKS_PER_STREAM = 10

state = {"started": None, "watching": 0}


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] != "http":
        raise ValueError("this app answers HTTP only, not " + scope["type"])
    elif scope["method"] not in ("GET", "HEAD"):
        await respond(scope, send, 405, "Only GET is answered here.\n", "text/plain")
    elif scope["path"] == "/":
        await respond(scope, send, 200, page(now()), "text/html")
    elif scope["path"] == "/healthz":
        await respond(scope, send, 200, "ok\n", "text/plain")
    elif scope["path"] == "/ticks":
        await stream(scope, receive, send)
    else:
        await respond(scope, send, 404, "There is nothing here.\n", "text/plain")


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            state["started"] = now()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def stream(scope, receive, send):
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")],
        }
    )
    state["watching"] += 1
    gone = asyncio.ensure_future(until_disconnect(receive))
    try:
        await send_chunk(send, "retry: 200\n\n")
        for _ in range(TICKS_PER_STREAM if scope["method"] == "GET" else 0):
            await send_chunk(send, f"data: {now().isoformat(timespec='seconds')} {state['watching']}\n\n")
            await asyncio.wait({gone}, timeout=1 - now().microsecond / 1e6)
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b""})
    finally:
        state["watching"] -= 1
        gone.cancel()


async def until_disconnect(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_chunk(send, text):
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def respond(scope, send, status, text, content_type):
    body = text.encode()
    headers = [
        (b"content-type", (content_type + "; charset=utf-8").encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def page(moment):
    """The page as it is at a moment: right without JavaScript, and ticking with it."""
    marks = "\n".join(mark(hour, 42 if hour % 3 else 39) for hour in range(12))
    started = state["started"]
    return PAGE.substitute(
        marks=marks,
        iso=moment.isoformat(timespec="seconds"),
        time=moment.strftime("%H:%M:%S"),
        date=moment.strftime("%A %d %B %Y"),
        hour_angle=(moment.hour % 12) * 30 + moment.minute / 2,
        minute_angle=moment.minute * 6,
        second_angle=moment.second * 6,
        started=started.strftime("%H:%M:%S") if started else "a moment ago",
    )


def mark(hour, inner):
    across, down = math.sin(hour * math.pi / 6), -math.cos(hour * math.pi / 6)
    ends = (50 + inner * across, 50 + inner * down, 50 + 45 * across, 50 + 45 * down)
    return '<line x1="{:.2f}" y1="{:.2f}" x2="{:.2f}" y2="{:.2f}"/>'.format(*ends)


def now():
    return datetime.now(timezone.utc)
