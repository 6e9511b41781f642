"""Every sample answers at the URL that `status` prints."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get

pytestmark = pytest.mark.network

WORDS = {
    "clock": "Clock",
    "dice": "Dice",
    "guestbook": "/static/entries/style.css",
    "hello": "Hello",
    "mazes": "Mazes",
    "notes": "Notes",
}


@pytest.mark.parametrize("name", WORDS)
def test_a_sample_answers(site: Site, name: str) -> None:
    if name == "dice" and shutil.which("node") is None:
        pytest.skip("this host has no node")
    shutil.copytree(REPOSITORY / "examples" / name, site.root / "examples" / name)
    own = REPOSITORY / f"examples/{name}/{name}.yaml"  # of one that not every host can run
    manifest = yaml.safe_load((own if own.exists() else REPOSITORY / f"manifests/{name}.yaml").read_text())
    site.save(site.manifests / f"{name}.yaml", yaml.safe_dump({**manifest, "port": a_port()}))
    for service in manifest.get("services", ()):
        shutil.copy(REPOSITORY / f"manifests/{service}.yaml", site.manifests)
    site.start()
    site.await_settled(name, within=120)
    url = site.told(name)["url"]
    page = get(int(url.rstrip("/").rpartition(":")[2]))
    assert WORDS[name].lower() in page.lower()


def test_new_requirements_take_over_without_a_failed_request(site: Site) -> None:
    port = site.app("blog", "1")
    site.start()
    eventually(site.serves("blog", "1", port))
    source = Path(site.root / "apps/blog")
    with under_load(port) as load:
        load.await_more(10)
        site.save(source / "requirements.txt", "iniconfig\n")
        site.source("blog", "2")
        site.save(source / "wsgi.py", "import iniconfig\n" + (source / "wsgi.py").read_text())
        eventually(site.serves("blog", "2", port), 60)
    assert load.failed == {}


@pytest.mark.parametrize("brings_node", [True, False], ids=["with node", "without"])
def test_a_sample_that_this_host_cannot_run_is_left_out_in_a_sentence(tmp_path: Path, brings_node: bool) -> None:
    for directory in ("scripts", "manifests", "bin"):
        (tmp_path / directory).mkdir()
    shutil.copy(REPOSITORY / "scripts/samples", tmp_path / "scripts")
    for program in ("sh", "ln", "rm", "dirname", *(["true"] if brings_node else [])):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / "bin" / ("node" if program == "true" else program)).symlink_to(found)
    link = tmp_path / "manifests" / "dice.yaml"
    if not brings_node:
        link.symlink_to("../examples/dice/dice.yaml")
    for _ in range(2):
        done = subprocess.run(
            [tmp_path / "scripts/samples"],
            env={"PATH": str(tmp_path / "bin"), "PROGRAMS": str(tmp_path / "bin")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("left out" in done.stdout) is not brings_node
        assert link.is_symlink() is brings_node
