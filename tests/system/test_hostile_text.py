"""Names, manifests, logs, errors and answers full of markup, escapes and marks that turn text: shown, never obeyed."""

import contextlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.support.eventually import at_leisure, eventually
from tests.support.site import REPOSITORY, Site
from tests.support.store import Store
from tests.support.web import bearer, browser, events, fetch, log_in, settings_with

_MARKUP = "<script>document.title='pwned'</script><img src=x onerror=document.title='pwned'>"
_CONTROLS = "\x1b[2J\x1b]0;pwned\x07\x9b31m\x00\x08"
_TURNING = "\u202egnp.exe\u202c\u2066\u200b\u200f\ufeff\u2028"
_HOSTILE = f"{_MARKUP}&amp;{_CONTROLS}{_TURNING}\nblog running"
_WHOLE = _HOSTILE.replace("\x00", "")  # a manifest with NUL in it is refused
# In a file's name, where neither NUL nor / may be, and no DNS label asks for it.
_NAME = "<img src=x onerror=alert(1)>\x1b[2J\u202egnp"
_FAILING = ("crashy", "unwell", "unstaged", "unreleased", "astray")
# What must reach nobody's screen as it is.
_RAW = frozenset("\x00\x07\x08\x1b\x9b\u200b\u200f\u2028\u202c\u202e\u2066\ufeff")

_NOISY = f"""\
import sys
print({_HOSTILE!r}, flush=True)

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
_FAILS = f"raise RuntimeError({_HOSTILE!r})\n\ndef application(environ, start_response): ...\n"
# An error page, with a status line that is no better.
_UNWELL = """\
STATUS = "500 <script>document.title='pwned'</script>\\u202e".encode().decode("latin-1")

def application(environ, start_response):
    start_response(STATUS, [("Content-Type", "text/html")])
    return [b"error: " + PAGE]
""".replace("PAGE", repr(_HOSTILE.encode()))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[tuple[Site, int]]:
    """A daemon with all of that in what it is told and in what its apps say."""
    site = Site.at(tmp_path_factory.mktemp("site"), store)
    try:
        site.app("noisy", env={"GREETING": _WHOLE})
        site.save(site.root / "apps" / "noisy" / "wsgi.py", _NOISY)
        site.app("crashy")
        site.save(site.root / "apps" / "crashy" / "wsgi.py", _FAILS)
        site.app("unwell", health={"path": "/up", "start_timeout": f"{round(at_leisure(3.0))}s"})
        site.save(site.root / "apps" / "unwell" / "wsgi.py", _UNWELL)
        site.app("unstaged")
        site.save(site.root / "apps" / "unstaged" / "requirements.txt", f"six=={_MARKUP}{_TURNING[:6]}\n")
        site.app("unreleased", release="printf '%s' \"$SAID\"; exit 3", env={"SAID": _WHOLE})
        site.manifest("astray", path=f"../apps/{_NAME}")
        site.save(site.manifests / "refused.yaml", yaml.safe_dump({"path": _HOSTILE, "workers": _HOSTILE, _HOSTILE: 1}))
        site.save(site.manifests / "named.yaml", yaml.safe_dump({"path": "../apps/noisy", "name": _HOSTILE}))
        site.save(site.manifests / "raw.yaml", f"path: ../apps/noisy\nworkers: {_HOSTILE}\n")
        site.save(site.manifests / f"{_NAME}.yaml", "path: [")
        db: dict[str, Any] = {"kind": "service", "name": "db", "type": "user-provided"}
        db |= {"label": _WHOLE, "credentials": {"uri": _WHOLE}}
        site.save(site.manifests / "db.yaml", yaml.safe_dump(db))
        port, settings = settings_with(site, writable=True)
        site.start("--settings", str(settings))
        eventually(lambda: set(_FAILING) <= {app for app, kind, _ in site.events() if kind == "failed"}, 90)
        site.await_settled("noisy")
        yield site, port
    finally:
        site.close()


@pytest.mark.parametrize(
    "words",
    [["status"], ["events", "-n", "500"], ["plan", "--diff"], ["validate"], ["services"], ["logs", "noisy"],
     ["logs", "unwell"], ["logs", "unreleased", "--which", "staging"]],
    ids=" ".join,
)  # fmt: skip
def test_the_terminal_obeys_none_of_it(host: tuple[Site, int], words: list[str]) -> None:
    site, _ = host
    in_a_pipe = site.cli(*words)
    assert not _RAW & {*in_a_pipe.stdout, *in_a_pipe.stderr}
    # Of escapes there are only our own, of colours.
    on_a_terminal = re.sub(r"\x1b\[[0-9;]*m", "", _on_a_terminal(site.command(*words)))
    assert not _RAW & {*on_a_terminal}
    if words != ["services"]:
        assert "\\x1b[2J" in in_a_pipe.stdout
        assert "x1b" in on_a_terminal
    if words[0] != "logs":
        assert "blog running" not in in_a_pipe.stdout.splitlines()


@pytest.mark.parametrize("command", ["status", "events", "plan", "services", "validate"])
def test_json_for_programs_says_it_all_and_can_be_printed(host: tuple[Site, int], command: str) -> None:
    site, _ = host
    told = site.cli(command, *(["--format", "json"] if command == "validate" else ["--json"])).stdout
    assert not _RAW & {*told}
    said = told.splitlines() if command == "events" else [told]
    assert any(_TURNING[0] in json.dumps(json.loads(part), ensure_ascii=False) for part in said)


def test_the_api_escapes_it_and_loses_nothing(host: tuple[Site, int]) -> None:
    site, port = host
    for path in ("status", "apps", "services", "manifests", "plan", "events?limit=500", "logs/noisy", "logs/unwell"):
        told = fetch(port, f"/api/v1/{path}", headers=bearer())
        assert told.status == 200, told.body
        assert not _RAW & {*told.body}, path
    assert _CONTROLS in "".join(fetch(site.paths.api, "/api/v1/logs/noisy").json["lines"])
    (followed,) = events(site.paths.api, "/api/v1/logs/noisy", 1)
    assert not _RAW & {*followed["data"]}
    assert _CONTROLS in "".join(json.loads(followed["data"]))
    for path in (f"/api/v1/apps/{quote(_HOSTILE, safe='')}", f"/apps/{quote(_NAME)}/stop", f"/{quote(_HOSTILE)}"):
        assert not _RAW & {*fetch(site.paths.api, path).body}


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_page_shows_it_as_text(host: tuple[Site, int], scripts: bool) -> None:
    _, port = host
    with browser(scripts=scripts) as driver:
        page = log_in(driver, port)
        for path, title in [
            ("/", "Apps"), ("/apps/astray/plan", "Plan of astray"), ("/apps/noisy", "noisy"),
            ("/apps/crashy", "crashy"), ("/apps/unwell", "unwell"), ("/apps/unstaged", "unstaged"),
            ("/apps/unreleased", "unreleased"), ("/apps/astray", "astray"), ("/apps/refused", "refused"),
            ("/apps/raw", "raw"), (f"/apps/{quote(_NAME)}", "<img src=x"),
            ("/apps/unreleased?which=staging", "unreleased"),
        ]:  # fmt: skip
            driver.get(f"{page}{path}")
            eventually(partial(_shows, driver))
            assert driver.title.startswith(title), path
            assert not driver.find_elements("css selector", "img, main script, iframe, object, embed")
            assert not _RAW & {*driver.page_source}, path


def test_a_row_of_a_hostile_name_is_kept_live_as_one_and_leads_to_its_page(host: tuple[Site, int]) -> None:
    _, port = host
    with browser() as driver:
        log_in(driver, port)
        place = "document.getElementById('daemon').textContent"
        driver.execute_script(f"{place} = ''")
        eventually(lambda: driver.execute_script(f"return {place}"))  # all rows were told
        links = "return [...document.querySelectorAll('#apps th a[data-name]')].map((a) => [a.textContent, a.href])"
        ((name, page),) = [found for found in driver.execute_script(links) if "<img" in found[0]]
        assert not _RAW & {*name}
        driver.get(page)
        assert driver.title.startswith("<img src=x")


def _shows(driver: Any) -> bool:
    """True when something it was told is on the page, set apart so that its direction turns nothing else."""
    return re.search(r"<bdi[^>]*>[^<]*&lt;(script|img src=x)", driver.page_source) is not None


def _on_a_terminal(command: list[str]) -> str:
    """What a command prints where a person looks."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=REPOSITORY) as child:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # EIO: it is over
            while part := os.read(ours, 65536):
                told += part
        os.close(ours)
        child.wait(60)
    return told.decode().replace("\r\n", "\n")
