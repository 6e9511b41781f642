"""The daemon killed while it takes a commit: what serves goes on, and the next daemon takes the commit by itself."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.settings.git import GitOrigin
from reconciler.settings.git import Repository as Settings
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.site import WSGI, Site, get

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
# Effects of a life that takes one commit, of which the first forty or so are those of its start.
EFFECTS = range(1, 160, 3) if NIGHTLY else range(30, 110, 26)


def app(name: str, version: str, port: int) -> dict[str, str | bytes | None]:
    return {
        f"{name}.yaml": f"path: {name}\nport: {port}\nprobation: 0s\n",
        f"{name}/wsgi.py": WSGI.replace("{version}", version),
    }


def settings(repository: Repository, port: int) -> dict[str, Any]:
    fleet = Settings(name="fleet", urls=(str(repository.bare),), signed="no", every_s=0.3)
    origin = GitOrigin(name="fleet", repository=fleet, branch="main", host="web1")
    return {"origins": (origin,), "first_port": port, "last_port": port, "retry_first_s": 0.1, "retry_cap_s": 0.2}


def leftovers(site: Site) -> list[Path]:
    """What a killed daemon, or a killed git, may leave behind."""
    found = [*site.paths.git.rglob("*"), *site.paths.origin("fleet").rglob("*"), *site.paths.sources.rglob("*")]
    locks = [path for path in found if path.name.endswith(".lock") and path.parent != site.paths.git]
    return locks + [path for path in found if path.name.startswith(("tmp_", ".draft-", ".gone-"))]


def test_a_daemon_killed_at_any_moment_of_taking_a_commit_is_carried_on_by_the_next(site: Site) -> None:
    port = a_port()
    repository = Repository.at(site.root)
    repository.push(app("shop", "0", port))
    given = settings(repository, port)
    first = site.live(**given)
    eventually(site.serves("shop", "0", port), 60)
    site.end(first)
    killed = 0
    for version, number in enumerate(EFFECTS, start=1):
        commit = repository.push(app("shop", str(version), port))
        mortal = site.live(Cues(die_at=number), **given)
        eventually(partial(is_dead_or_serves, mortal, port, str(version)), 60)
        assert get(port) in {str(version - 1), str(version)}
        killed += not mortal.is_alive()
        mortal.kill()
        mortal.join(60)
        heir = site.live(**given)
        eventually(site.serves("shop", str(version), port), 60)
        current = site.paths.current("fleet")
        assert current.readlink().name == commit
        eventually(lambda: leftovers(site) == [])
        site.end(heir)
    assert killed > len(EFFECTS) // 2


@pytest.mark.nightly
def test_a_daemon_killed_at_any_moment_of_taking_a_source_is_carried_on_by_the_next(site: Site) -> None:
    port = a_port()
    repository = Repository.at(site.root, "code")
    repository.push({"shop/wsgi.py": WSGI.replace("{version}", "0")})
    code = Settings(name="code", urls=(str(repository.bare),), signed="no", every_s=0.3)
    given: dict[str, Any] = {
        "repositories": {"code": code},
        "git_host": "web1",
        "retry_first_s": 0.1,
        "retry_cap_s": 0.2,
    }
    source = "{repository: code, branch: main, path: shop}"
    site.save(site.manifests / "shop.yaml", f"source: {source}\nport: {port}\nprobation: 0s\n")
    first = site.live(**given)
    eventually(site.serves("shop", "0", port), 60)
    site.end(first)
    killed = 0
    for version, number in enumerate(EFFECTS, start=1):
        commit = repository.push({"shop/wsgi.py": WSGI.replace("{version}", str(version))})
        mortal = site.live(Cues(die_at=number), **given)
        eventually(partial(is_dead_or_serves, mortal, port, str(version)), 60)
        assert get(port) in {str(version - 1), str(version)}
        killed += not mortal.is_alive()
        mortal.kill()
        mortal.join(60)
        heir = site.live(**given)
        eventually(site.serves("shop", str(version), port), 60)
        assert (site.paths.source("code@main") / "current").readlink().stem == commit
        eventually(lambda: leftovers(site) == [])
        site.end(heir)
    assert killed > len(EFFECTS) // 2


def is_dead_or_serves(daemon: Any, port: int, version: str) -> bool:
    return not daemon.is_alive() or get(port) == version


@pytest.mark.nightly
def test_a_hundred_pushes_in_a_row_are_taken_without_a_refused_request(site: Site) -> None:
    from tests.support.load import under_load

    port = a_port()
    repository = Repository.at(site.root)
    repository.push(app("shop", "0", port))
    site.live(**settings(repository, port))
    eventually(site.serves("shop", "0", port), 60)
    with under_load(port) as load:
        for number in range(1, 101):
            repository.push(app("shop", str(number), port))
        eventually(site.serves("shop", "100", port), 120)
        load.await_more(5)
    assert load.failed == {}
