"""Decide which trees of static files the proxy serves for an app, and how it is told to.

A tree holds the files of one revision under the paths that clients ask for. The proxy is told three names, of which
the daemon turns one after the other to other trees: what a deploy changes is no configuration.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.planning.fingerprint import fingerprint
from reconciler.planning.routing.routing import EVERYTHING, Routing

# The names of an app's trees, in the order in which a file is looked for: of what took over last, then of the rest.
NAMES = ("newest", "before", "earlier")
_MOST = len(NAMES)
# A file that is named after its content never changes; of any other, a client asks whether it has the newest.
FOREVER, ASK_FIRST = "public, max-age=31536000, immutable", "no-cache"


def content_names() -> str:
    """Return the regular expression of paths whose file carries a digest before its last ending: 8 to 64 hex digits.

    One of up to 19 digits has to be a letter: dates and times have none. RE2 and PCRE read it in the same way.
    """
    short = "|".join(f"[0-9]{{{n}}}[a-f][0-9a-f]{{{max(0, 7 - n)},{18 - n}}}" for n in range(19))
    return rf"[.-]([0-9a-f]{{20,64}}|{short})\.[A-Za-z0-9.]+$"


def paths_of(routing: Routing) -> tuple[str, ...]:
    """Return the paths below which an app has static files, as clients ask for them; the longest first."""
    found = (_joined(routing.below, path) for path, _ in routing.static)
    return tuple(sorted(found, key=lambda path: (-len(path), path)))


def directories_of(routing: Routing) -> tuple[tuple[str, str], ...]:
    """Return each of these paths with the directory of a build whose files are there; a path comes after one above."""
    return tuple(sorted((_joined(routing.below, path), directory) for path, directory in routing.static))


def tree_of(revision: str, routing: Routing) -> str:
    """Return the name of the tree of a revision, which is another one when the manifest names other directories."""
    return f"{revision}-{fingerprint([list(each) for each in directories_of(routing)])}"


def trees_wanted(alive: Sequence[str], laid: Sequence[str], kept: Mapping[str, float], now: float) -> tuple[str, ...]:
    """Return the trees that are to be laid out; `alive` are those that an app needs, of the newest first.

    Behind those come the ones that are `kept`, each until then: pages that clients have name their files. Of an app of
    which none is known, they stay.
    """
    still = sorted((name for name in laid if kept.get(name, now) > now), key=lambda name: -kept[name])
    return tuple(dict.fromkeys((*alive, *still)))[:_MOST] if alive else tuple(laid)


def _joined(below: str, path: str) -> str:
    if below == EVERYTHING:
        return path
    return below if path == EVERYTHING else f"{below}{path}"


def under(path: str) -> str:
    """Return a path with a slash at its end."""
    return path if path == EVERYTHING else f"{path}/"


def nginx_lines(files: str, app: str) -> Iterator[str]:
    """Yield the lines of a location of nginx that answers with a file, if there is one, or hands over to the app.

    The app gets as well what no file answers (405: a POST), and requests for a file that went meanwhile (404).
    """
    found = " ".join(f"/{name}$uri" for name in NAMES)
    yield f'root "{files}";'
    yield f"try_files {found} {nginx_app(app)};"
    yield f"error_page 404 405 = {nginx_app(app)};"
    yield "add_header Cache-Control $reconciler_caching;"


def nginx_app(app: str) -> str:
    """Return the name of the location of nginx that is an app itself."""
    return f"@reconciler-{app}"


def nginx_map() -> tuple[str, ...]:
    """Return the lines of nginx that say how long a file is kept by clients."""
    return (
        "map $uri $reconciler_caching {",
        f'    default "{ASK_FIRST}";',
        f'    "~{content_names()}" "{FOREVER}";',
        "}",
    )


def caddy_handlers(files: str, routing: Routing) -> Iterator[dict[str, Any]]:
    """Yield the routes of Caddy that answer with a file, if there is one; `files` is the directory of the trees."""
    for name in NAMES:
        root = f"{files}/{name}"
        match = {
            "method": ["GET", "HEAD"],
            "path": [f"{under(path)}*" for path in paths_of(routing)],
            "not": [{"path": ["*/"]}],
            "file": {"root": root, "try_files": ["{http.request.uri.path}"]},
        }
        forever = {"match": [{"path_regexp": {"pattern": content_names()}}], "handle": [_caching(FOREVER)]}
        inner = {
            "handler": "subroute",
            "routes": [
                {"handle": [_caching(ASK_FIRST)]},
                forever,
                {"handle": [{"handler": "file_server", "root": root, "canonical_uris": False, "pass_thru": True}]},
                {"handle": [{"handler": "headers", "response": {"delete": ["Cache-Control"]}}]},
            ],
        }
        yield {"match": [match], "handle": [inner]}  # not terminal: the next is asked for a file that has just gone


def _caching(value: str) -> dict[str, Any]:
    return {"handler": "headers", "response": {"set": {"Cache-Control": [value]}}}
