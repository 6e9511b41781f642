"""`ps` and `open` on a running host: what each worker does, and where an app answers."""

import http.client
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.site import Site, get


def listed(site: Site, *words: str) -> list[dict[str, Any]]:
    told = site.cli("ps", *words, "--json")
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)["apps"]
    return found


def test_ps_tells_of_each_worker_what_it_has_done_and_does(site: Site) -> None:
    port = site.app("blog", workers=2)
    site.app("shop", state="stopped")
    site.start()
    site.await_settled("blog")
    for _ in range(5):
        assert get(port) == "1"
    slow = http.client.HTTPConnection("127.0.0.1", port)
    slow.request("GET", "/slow?120")

    def busy() -> dict[str, Any]:
        (app,) = listed(site, "blog")
        instance: dict[str, Any]
        (instance,) = app["instances"]
        assert any(each["activity"] == "busy" for each in instance["processes"])
        return instance

    try:
        instance = eventually(busy)
        master, *workers = instance["processes"]
        assert (instance["phase"], master["role"], [each["role"] for each in workers]) == (
            "serving", "master", ["worker"] * 2,
        )  # fmt: skip
        assert master["pid"] == site.told("blog")["pid"]
        assert sorted((each["activity"], each["in_flight"]) for each in workers) == [("busy", 1), ("idle", 0)]
        assert sum(each["requests"] for each in workers) >= 5
        assert all(each["memory"] > 0 and each["age_s"] >= 0 for each in (master, *workers))
        table = site.cli("ps").stdout
        assert "busy: 1 in flight" in table
        assert "idle for" in table
        assert "shop" not in table, "an app of which nothing runs is told when it is named"
        assert site.cli("ps", "sh*").stdout == (
            "shop: no instance is running; the app is stopped: its manifest says state: stopped\n"
        )
    finally:
        slow.close()
    assert "no app named 'nope'" in site.cli("ps", "nope").stderr

    os.kill(workers[0]["pid"], signal.SIGSTOP)
    try:
        assert len(listed(site, "blog")[0]["instances"][0]["processes"]) == 3, (
            "one that hangs is listed, and waited for"
        )
    finally:
        os.kill(workers[0]["pid"], signal.SIGKILL)


def test_open_prints_the_url_and_hands_it_to_the_desktop_alone(site: Site, tmp_path: Path) -> None:
    port = site.app("blog", host="0.0.0.0")
    site.app("wiki", state="maintenance")
    site.start()
    site.await_settled("blog")
    url = f"http://127.0.0.1:{port}/"
    programs, told = tmp_path / "programs", tmp_path / "told"
    programs.mkdir()
    (programs / "xdg-open").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}.draft && mv {told}.draft {told}\n')
    (programs / "xdg-open").chmod(0o755)
    desktop = {"PATH": f"{programs}:{os.environ['PATH']}", "DISPLAY": ":7"}
    assert site.cli("open", "blog", env={**desktop, "DISPLAY": "", "WAYLAND_DISPLAY": ""}).stdout == f"{url}\n"
    assert site.cli("open", "blog", "--print", env=desktop).stdout == f"{url}\n"
    assert json.loads(site.cli("open", "blog", "--json", env=desktop).stdout) == {
        "app": "blog", "url": url, "state": "running",
    }  # fmt: skip
    assert not told.exists()
    assert site.cli("open", "blog", env=desktop).stdout == f"{url}\n"
    eventually(told.exists)
    assert told.read_text() == f"{url}\n"
    assert "wiki is maintenance: its manifest says state: maintenance" in site.cli("open", "wiki").stderr
    assert "did you mean" in site.cli("open", "blgo").stderr
