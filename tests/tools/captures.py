"""The captures in docs/reference/terminal.md: `status --watch` in tmux, of a real daemon with apps in many states.

As a program: the document as the argument, in which the code block below each `<!-- capture: … -->` is replaced, and
the pictures of the same screen, and of the page, for README.md.
"""

import contextlib
import html
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.site import REPOSITORY, Site, get
from tests.support.store import warm
from tests.support.web import browser, log_in, resize, settings_with

_FAILS = """
raise RuntimeError("cannot reach the database at 10.0.0.7:5432")

def application(environ, start_response): ...
"""
_PRINTS = """
def application(environ, start_response):
    print("served", environ["PATH_INFO"], flush=True)
    start_response("200 OK", [])
    return [b"1"]
"""
_STATES = {
    "archive": "sleeping", "blog": "running", "broken": "invalid", "crashy": "failing", "legacy": "stopped",
    "news": "degraded", "shop": "running", "wiki": "maintenance",
}  # fmt: skip
_NUMBERS = count()
_PICTURED = (118, 18)
# What SGR codes look like in a picture: https://ecma-international.org/publications-and-standards/standards/ecma-48/
_CSS: Mapping[str, Mapping[str, str]] = {
    "1": {"font-weight": "bold"}, "2": {"opacity": ".6"}, "7": {"background": "#3a4050"},
    "31": {"color": "#e06c75"}, "32": {"color": "#98c379"}, "33": {"color": "#e5c07b"}, "34": {"color": "#61afef"},
    "35": {"color": "#c678dd"}, "36": {"color": "#56b6c2"}, "90": {"color": "#7f848e"},
}  # fmt: skip
_CAPTURE = re.compile(r"(<!-- capture: (\d+)x(\d+)(?: ([\w ?/]+))? -->\n+```text\n).*?(```)", re.DOTALL)


def populated(site: Site) -> int:
    """Start a daemon with an app in every state that lasts; return the port of its page."""
    blog = site.app("blog", workers=2)
    shop = site.app("shop")
    site.save(site.root / "apps" / "shop" / "wsgi.py", _PRINTS)
    site.app("news", probation="0s")
    site.app("archive", start="lazy")
    site.app("legacy", state="stopped")
    site.app("wiki", state="maintenance")
    site.app("crashy")
    site.save(site.root / "apps" / "crashy" / "wsgi.py", _FAILS)
    site.save(site.manifests / "broken.yaml", "path: ../apps/blog\nname: broken\nworkers: many\n")
    port, settings = settings_with(site)
    site.start("--settings", str(settings))
    site.await_settled("blog", "shop", "news")
    eventually(lambda: site.known_good("news"))
    site.save(site.root / "apps" / "news" / "wsgi.py", _FAILS)
    eventually(lambda: {name: site.told(name)["state"] for name in _STATES} == _STATES)
    for path in ("/", "/basket", "/checkout"):
        get(shop, path)
        get(blog, path)
    return port


class Tmux:
    """One terminal of a size, running one command, with a server of its own."""

    def __init__(self, socket: Path, columns: int, rows: int, command: Sequence[str]) -> None:
        self._socket = socket.with_name(f"{socket.name}-{next(_NUMBERS)}")  # one that ends may still be there
        self._do("-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows), shlex.join(command))

    def press(self, *keys: str) -> None:
        """Send keys, by tmux' names."""
        self._do("send-keys", *keys)

    def shown(self, *, styled: bool = False) -> str:
        """What is on the screen, with the escape sequences of its colours if `styled`."""
        return self._do("capture-pane", "-p", *(["-e"] if styled else []))

    def close(self) -> None:
        """End it all."""
        with contextlib.suppress(AssertionError):
            self._do("kill-server")

    def _do(self, *words: str) -> str:
        command = ["tmux", "-u", "-S", str(self._socket), *words]
        told = subprocess.run(
            command, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
        assert told.returncode == 0, told.stderr
        return told.stdout


def captured(site: Site, columns: int, rows: int, keys: Sequence[str], *, styled: bool = False) -> str:
    """The screen after these keys, as soon as everything on it is known."""
    command = ["env", "TERM=screen-256color", *site.command("status", "--watch")]
    tmux = Tmux(site.root / "tmux", columns, rows, command)
    try:
        eventually(lambda: "q quit" in tmux.shown() and re.search(r"\d+\.\dM", tmux.shown()))
        for key in keys:
            tmux.press(key)

        def steady() -> str:
            told = tmux.shown()
            assert "loading …" not in told
            assert not {"Enter", "l"}.intersection(keys) or "Tab next log" in told
            assert "Tab" not in keys or "[app]" not in told
            return told

        told = (eventually(steady) and tmux.shown(styled=styled)).replace(str(site.root), "/srv")
        return re.sub(r"/[^\s\"]+(?=/lib/python3)", "/usr", told)
    finally:
        tmux.close()


def renewed(text: str, site: Site) -> str:
    """The document with every capture taken anew."""

    def taken(found: "re.Match[str]") -> str:
        told = captured(site, int(found[2]), int(found[3]), (found[4] or "").split())
        lines = [line.rstrip() for line in told.rstrip().splitlines()]
        return "\n".join([found[1] + lines[0], *lines[1:], found[5]])

    return _CAPTURE.sub(taken, text)


def page(screen: str) -> str:
    """A page that shows a screen with its colours."""
    style: dict[str, str] = {}
    body = ""
    for codes, text in re.findall(r"(?:\x1b\[([\d;]*)m)?([^\x1b]*)", screen):
        for code in codes.split(";") if codes or text else ():
            style = {} if code in {"", "0", "39"} else {**style, **_CSS.get(code, {})}
        css = ";".join(f"{name}:{value}" for name, value in style.items())
        body += f'<span style="{css}">{html.escape(text)}</span>' if css else html.escape(text)
    look = "background:#1c1f26;color:#d7dae0;font:15px/1.35 'DejaVu Sans Mono',monospace;margin:0;padding:18px"
    return f'<!doctype html><meta charset="utf-8"><body style="{look}"><pre style="margin:0;font:inherit">{body}</pre>'


def photographed(site: Site, port: int, pictures: Path) -> None:
    """Take the pictures of the screen and of the page."""
    with browser(1120, 420) as opened, tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        file.write(page(captured(site, *_PICTURED, (), styled=True).rstrip()))
        file.flush()
        opened.get(Path(file.name).as_uri())
        opened.save_screenshot(str(pictures / "terminal.png"))
        log_in(opened, port)
        resize(opened, 1280, 760)
        eventually(lambda: "running" in opened.page_source and "MB" in opened.page_source)
        opened.save_screenshot(str(pictures / "page.png"))


@contextlib.contextmanager
def _site() -> Iterator[tuple[Site, int]]:
    with tempfile.TemporaryDirectory(prefix="reconciler-") as directory:
        site = Site.at(Path(directory) / "host", warm(Path(directory) / "store"))
        try:
            yield site, populated(site)
        finally:
            site.close()


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    document = Path(sys.argv[1])
    with _site() as (here, page_port):
        document.write_text(renewed(document.read_text(encoding="utf-8"), here), encoding="utf-8")
        photographed(here, page_port, REPOSITORY / "docs" / "screenshots")
