"""Clients of the API and the page: over the socket, over TCP, and a browser."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from reconciler.linux.unix_sockets import reachable
from reconciler.state.paths import StatePaths
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site

TOKEN = "a-token-of-these-tests"
# A first request waits while the web process begins, however busy the machine: only a failure takes this long.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class OverUnix(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, place: Path, timeout: float = PATIENCE_S) -> None:
        super().__init__("localhost", timeout=timeout)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with reachable(self._place) as short:
            self.sock.connect(short)


def _connection(at: Path | int) -> http.client.HTTPConnection:
    return OverUnix(at) if isinstance(at, Path) else http.client.HTTPConnection("127.0.0.1", at, timeout=PATIENCE_S)


def fetch(
    at: Path | int, path: str, method: str = "GET", body: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request at a socket's path or a port of this host."""
    with contextlib.closing(_connection(at)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(status=answer.status, headers=told, body=answer.read().decode())


def logged_in(port: int, path: str) -> Answer:
    """What the form of a link from `reconciler page` is answered with."""
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{port}"}
    return fetch(port, "/login", "POST", urlencode({"link": path.rpartition("/")[2]}), sent)


def events(at: Path | int, path: str, count: int, headers: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """The first server-sent events of a stream, as their fields."""
    with contextlib.closing(_connection(at)) as connection:
        connection.request("GET", path, headers={"Accept": "text/event-stream", **(headers or {})})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        found: list[dict[str, str]] = []
        fields: dict[str, str] = {}
        while len(found) < count:
            line = answer.readline().decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                found.append(fields)
                fields = {}
            else:
                fields = {}
        return found


def settings_with(site: Site, *, behind_proxy: bool = False, **api: Any) -> tuple[int, Path]:
    """A port, and a settings file that has the API there; behind a proxy, it says who the client is."""
    port = a_port()
    api |= {"url": f"http://127.0.0.1:{port}"} if behind_proxy else {}
    (site.root / "token").write_text(f"{TOKEN}\n")
    file = site.root / "host.yaml"
    told = {"address": f"127.0.0.1:{port}", "token": {"file": "token"}, **api}
    file.write_text(json.dumps({"api": told}))
    return port, file


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def from_address(number: int) -> dict[str, str]:
    """What a proxy says of the client, so that wrong tokens of one test are not another's."""
    return {"X-Forwarded-For": f"192.0.2.{number}"}


def open_session(port: int) -> tuple[str, dict[str, str]]:
    """Log in; the base of the session's paths, and its cookie."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = fetch(port, "/login", "POST", f"token={TOKEN}", form)
    assert answer.status == 303, answer
    return answer.headers["location"].rstrip("/"), {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def web_process(site: Site) -> int | None:
    """The pid of the process that answers, None when none does."""
    return web_process_of(site.paths)


def web_process_of(paths: StatePaths) -> int | None:
    """The pid of the process that answers for a state directory, None when none does."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                log = (entry / "fd" / "2").readlink()
                if b"reconciler.web" in words and log == paths.web_log.resolve():
                    return int(entry.name)
    return None


@contextlib.contextmanager
def browser(
    width: int = 1280, height: int = 900, *, dark: bool = False, scripts: bool = True, trusted: tuple[str, ...] = ()
) -> Iterator[Any]:
    """A headless Chromium; the test is skipped where there is none and none may be installed.

    `trusted` are the keys of certificate authorities that it trusts besides, base64 of the SHA-256 of each.
    """
    if subprocess.run([REPOSITORY / "scripts" / "browser"], check=False, capture_output=True, timeout=500).returncode:
        pytest.skip("chromium is missing, and only root may install it: scripts/browser")
    from selenium import webdriver

    # Chromium leaves files behind, whatever becomes of its profile.
    scratch = tempfile.mkdtemp(prefix="reconciler-browser-")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    if trusted:
        options.add_argument(f"--ignore-certificate-errors-spki-list={','.join(trusted)}")
        options.add_argument(f"--user-data-dir={scratch}/profile")  # without one, that list has no effect
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    service = webdriver.ChromeService(shutil.which("chromedriver") or "", env={**os.environ, "TMPDIR": scratch})
    try:
        driver: Any = webdriver.Chrome(options=options, service=service)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    try:
        driver.set_script_timeout(300)  # axe takes its time on a busy machine
        scheme = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        resize(driver, width, height)
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(scratch, ignore_errors=True)


def resize(driver: Any, width: int, height: int) -> None:
    """Give the window a size, be it a phone's."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def log_in(driver: Any, port: int) -> str:
    """Send the token by the form; return the URL at which the session's pages begin."""
    driver.get(f"http://127.0.0.1:{port}/login")
    driver.find_element("id", "token").send_keys(TOKEN)
    driver.find_element("css selector", "main button").click()
    ready = "return document.readyState == 'complete'"
    eventually(lambda: "/login" not in driver.current_url and driver.execute_script(ready))
    return str(driver.current_url).rstrip("/")


def axe(driver: Any) -> list[str]:
    """What axe-core finds, of whatever weight."""
    script = resources.files("axe_core_python") / "axe.min.js"
    driver.execute_script(script.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:200]}" for v in found["violations"]]
