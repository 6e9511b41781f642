"""What staging promises beyond one app: sharing, offline bundles, slow archives, release commands, collection."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, WSGI, Site, get

pytestmark = pytest.mark.network

BOTTLE = "import bottle\nimport lib\napplication = bottle.default_app()\nbottle.route('/')(lambda: 'bundled')\n"
SETUP = "from setuptools import setup\nsetup(name='lib', version='1', py_modules=['lib'])\n"


def disk(*places: Path) -> int:
    """Bytes on the disk, what is linked counted once."""
    seen = {}
    for place in places:
        for path in place.rglob("*"):
            facts = path.lstat()
            seen[facts.st_ino] = facts.st_blocks * 512
    return sum(seen.values())


def test_ten_apps_on_one_key_are_installed_once(site: Site) -> None:
    names = [f"app-{number}" for number in range(10)]
    for name in names:
        (site.source(name, name) / "requirements.txt").write_text("bottle\niniconfig\nitsdangerous\n")
        site.manifest(name, port=a_port())
    before = {path.name for path in site.paths.environments.iterdir()}
    site.start()
    site.await_settled(*names, within=180)
    assert [get(int(site.told(name)["port"])) for name in names] == names
    staged = [text for _, kind, text in site.events() if kind == "staged"]
    assert sum("environment created" in text for text in staged) == 1
    assert sum("shared with another app" in text or "environment reused" in text for text in staged) == 9
    (made,) = [p.parent for p in site.paths.environments.glob("*/finished.json") if p.parent.name not in before]
    builds = [site.paths.builds(name) for name in names]
    assert disk(made, *builds) <= 1.2 * disk(made, builds[0])


def test_a_bundle_serves_without_a_network(site: Site) -> None:
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not make a network namespace")
    source = site.root / "apps/bundled"
    (source / "lib").mkdir(parents=True)
    (source / "wsgi.py").write_text(BOTTLE)
    (source / "requirements.txt").write_text("bottle\n-e ./lib\n")
    (source / "lib/setup.py").write_text(SETUP)
    (source / "lib/lib.py").write_text("")
    said = site.cli("bundle", str(source))
    assert "app.bundle: " in said.stdout, said.stderr
    port = a_port()
    site.manifest("bundled", port=port)
    offline = [
        "unshare",
        "-n",
        sys.executable,
        "-m",
        "tests.support.offline",
        str(site.manifests),
        str(site.root / "fresh"),
    ]
    done = subprocess.run([*offline, str(port)], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "bundled", done.stdout + done.stderr


def test_an_archive_is_deployed_once_it_is_whole_and_a_broken_one_disturbs_nobody(site: Site) -> None:
    site.source("packed", "1")
    archive, whole = site.root / "apps/packed.tar.gz", site.root / "whole.tar.gz"

    def pack(version: str) -> bytes:
        site.source("packed", version)
        with tarfile.open(whole, "w:gz") as tar:
            tar.add(site.root / "apps/packed", arcname="packed-1.0")
        return whole.read_bytes()

    archive.write_bytes(pack("1"))
    port = a_port()
    site.manifest("packed", path="../apps/packed.tar.gz", port=port)
    site.start()
    eventually(site.serves("packed", "1", port), 60)
    second = pack("2")
    archive.write_bytes(second[:150])
    eventually(lambda: "is it still being copied" in site.told("packed")["message"])
    assert get(port) == "1"
    with archive.open("ab") as copying:
        copying.write(second[150:])
    eventually(site.serves("packed", "2", port), 60)
    staged = [text for _, kind, text in site.events("packed") if kind == "staged"]
    assert len(staged) == 2


def test_a_release_command_runs_before_the_app_serves_and_a_failing_one_leaves_the_old_serving(site: Site) -> None:
    release = 'echo x >> "$HOME/count"; echo "$GREETING from the release"; grep -q ok migration'
    source = site.source("shop", "1")
    (source / "migration").write_text("ok")
    port = a_port()
    site.manifest("shop", port=port, release=release, env={"GREETING": "hello"})
    site.start()
    eventually(site.serves("shop", "1", port), 60)

    def runs() -> int:
        return len((site.paths.home("shop") / "count").read_text().split())

    assert runs() == 1
    first = site.told("shop")["revision"]
    assert "    hello from the release" in site.paths.log("shop", "staging").read_text()
    site.manifest("shop", port=port, release=release, env={"GREETING": "hello"}, threads=2)
    eventually(lambda: site.told("shop")["revision"] != first and site.settled("shop"), 60)
    assert runs() == 1
    site.manifest("shop", port=port, release=release, env={"GREETING": "bye"}, threads=2)
    eventually(lambda: runs() == 2 and site.settled("shop"), 60)
    site.save(source / "migration", "bad")
    site.source("shop", "2")
    eventually(lambda: "the release command '" in site.told("shop")["message"], 60)
    assert get(port) == "1"
    assert site.told("shop")["state"] == "degraded"
    site.save(source / "migration", "ok")
    eventually(site.serves("shop", "2", port), 60)


@pytest.mark.nightly
def test_what_nothing_needs_is_collected_and_what_serves_stays(site: Site) -> None:
    port = a_port()
    source = site.source("shop", "1")
    (source / "requirements.txt").write_text("iniconfig\n")
    site.manifest("shop", port=port)
    site.start()
    eventually(site.serves("shop", "1", port), 60)
    for version in ("2", "3"):
        site.save(source / "requirements.txt", f"iniconfig\n# {version}\n")
        site.save(source / "wsgi.py", WSGI.replace("{version}", version))
        eventually(site.serves("shop", version, port), 60)

    def kept() -> set[str]:
        return {path.parent.name for path in site.paths.environments.glob("*/finished.json")}

    def built() -> set[str]:
        records = [json.loads(path.read_text()) for path in site.paths.builds("shop").glob("*/build.json")]
        return {Path(record["staged"]["environment"]).name for record in records}

    assert "nothing to remove" in site.cli("gc").stdout
    before = kept()
    # The oldest build goes once the newest has proven itself.
    eventually(lambda: len(built()) < 3, 60)
    said = site.cli("gc", "--older-than", "0s").stdout
    assert kept() == built() < before
    assert all(f"removed environment {key}" in said for key in before - kept())
    assert get(port) == "3"
    assert site.settled("shop")
