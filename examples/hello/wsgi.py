"""The smallest real app: one file, one callable, no dependencies. It shows what the platform tells an app."""

import html
import json
import os
import string
import sys

PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hello from $name</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --ink: #1d2433; --quiet: #5d6780; --paper: #f6f7fb; --card: #fff; --line: #e4e7ef;
          --accent: #3f6df6; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e7eaf3; --quiet: #98a2b8; --paper: #11141c; --card: #1a1f2b; --line: #2a3142; --accent: #86a5ff; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 2rem 1rem;
         font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
  main { width: 100%; max-width: 36rem; background: var(--card); border: 1px solid var(--line); border-radius: 16px;
         padding: 2rem; box-shadow: 0 12px 40px rgb(0 0 0 / .06); }
  h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em; }
  h1 b { color: var(--accent); }
  p { margin: .35rem 0 1.5rem; color: var(--quiet); }
  dl { margin: 0; display: grid; grid-template-columns: auto 1fr; }
  dt, dd { margin: 0; padding: .55rem 0; border-top: 1px solid var(--line); }
  dt { padding-right: 1.5rem; color: var(--quiet); }
  dd { text-align: right; font-family: ui-monospace, monospace; font-size: .9rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>Hello from <b>$name</b></h1>
<p>One file, one callable, no dependencies.</p>
<dl>
$facts
</dl>
</main>
</body>
</html>
""")


def application(environ, start_response):
    path = environ.get("PATH_INFO", "/")
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return answer(environ, start_response, "405 Method Not Allowed", "Only GET is answered here.\n", "text/plain")
    if path == "/":
        return answer(environ, start_response, "200 OK", page(environ), "text/html")
    if path == "/facts.json":
        return answer(
            environ, start_response, "200 OK", json.dumps(facts(environ), indent=2) + "\n", "application/json"
        )
    if path == "/healthz":
        return answer(environ, start_response, "200 OK", "ok\n", "text/plain")
    return answer(environ, start_response, "404 Not Found", "There is nothing here.\n", "text/plain")


def facts(environ):
    """What the platform says about this instance, as words."""
    about = json.loads(os.environ.get("VCAP_APPLICATION", "{}"))
    services = json.loads(os.environ.get("VCAP_SERVICES", "{}"))
    return {
        "App": str(about.get("name", "hello")),
        "Revision": str(about.get("version", "unknown")),
        "Instance": str(about.get("instance_id", "unknown")),
        "Port": os.environ.get("VCAP_APP_PORT", environ.get("SERVER_PORT", "unknown")),
        "Python": ".".join(str(part) for part in sys.version_info[:3]),
        "Server": environ.get("SERVER_SOFTWARE", "unknown"),
        "Worker process": str(os.getpid()),
        "Services": ", ".join(entry["name"] for entries in services.values() for entry in entries) or "none",
    }


def page(environ):
    shown = facts(environ)
    rows = (f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in shown.items())
    return PAGE.substitute(name=html.escape(shown["App"]), facts="\n".join(rows))


def answer(environ, start_response, status, text, content_type):
    body = text.encode()
    start_response(
        status,
        [
            ("Content-Type", content_type + "; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ],
    )
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
