"""A repository's credentials are in nothing that a daemon writes or shows, also when they are refused."""

import json
from pathlib import Path

import pytest

from tests.fakes.authority import made_in
from tests.servers.git_http import git_server
from tests.support.eventually import eventually
from tests.support.repository import Repository
from tests.support.site import WSGI, Site
from tests.support.web import fetch, settings_with

TOKEN = "tok-5b0e-very-secret"
COMMANDS = (
    ("status", "--json"), ("events", "--json"), ("doctor", "--json"), ("git", "--json"), ("git",),
    ("git", "test", "fleet"), ("git", "log", "fleet"), ("metrics",), ("plan", "--json"), ("releases", "shop", "--json"),
)  # fmt: skip
PAGES = (
    "/", "/origins", "/origins/fleet", "/events", "/apps/shop", "/api/v1/status", "/api/v1/origins", "/api/v1/events",
    "/api/v1/apps/shop", "/api/v1/plan", "/metrics",
)  # fmt: skip


def test_the_token_of_a_repository_is_in_nothing_that_is_written_or_shown(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test 37."""
    monkeypatch.setenv("no_proxy", "*")
    authority, repository = made_in(site.root), Repository.at(site.root)
    (site.root / "git-token").write_text(f"{TOKEN}\n")
    repository.push({"hosts/web1/shop.yaml": "path: ../../apps/shop\nprobation: 0s\n", "apps/shop/wsgi.py": WSGI})
    _, file = settings_with(site)
    with git_server(repository.bare.parent, authority.serving, TOKEN) as server:
        fleet = {
            "url": server.url(), "ca": str(authority.certificate), "token": {"file": "git-token"}, "user": "reader",
            "signed": "no", "every": "1h",
        }  # fmt: skip
        settings = json.loads(file.read_text()) | {
            "git": {"repositories": {"fleet": fleet}, "host": "web1"},
            "origins": {"fleet": {"repository": "fleet", "branch": "main", "path": ["hosts/web1"]}},
        }
        file.write_text(json.dumps(settings))
        site.start("--settings", str(file))
        site.await_settled("shop", within=60)
        assert f"reader:{TOKEN}" in {credentials for _, credentials in server.asked}
        server.token = "another"
        for _ in range(2):  # one failure alone is not told
            site.cli("git", "pull", "fleet", "--wait")
        eventually(lambda: "refuses this host's credentials" in site.cli("git").stdout)
        eventually(lambda: fetch(site.paths.api, "/origins").status == 200)
        shown = {path: fetch(site.paths.api, path).body for path in PAGES}
        for words in COMMANDS:
            done = site.cli(*words)
            shown[" ".join(words)] = done.stdout + done.stderr
        assert "refuses this host's credentials" in shown["git"]
    shown["the daemon's own words"] = site.console.read_text()
    assert [where for where, text in shown.items() if TOKEN in text] == []
    assert [path for path in site.paths.state.rglob("*") if _holds(path)] == []


def _holds(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and TOKEN.encode() in path.read_bytes()
