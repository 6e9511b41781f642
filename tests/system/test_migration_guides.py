"""Each guide "from" another platform as its reader follows it: its commands on a sample, the daemon, an answer.

Compose has no guide: its sample is imported by the command alone.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.documents import DOCS, blocks
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get

SAMPLES = REPOSITORY / "tests" / "projects" / "imports"
# The sample of each guide, and where the guide says it lies; a path of the host is one below the test's directory.
GUIDES = {
    "cloud-foundry": ("cloud-foundry", "apps/blog"),
    "dokku": ("dokku", "apps/blog"),
    "heroku": ("heroku", "apps/blog"),
    "kamal": ("kamal", "apps/blog"),
    "piku": ("piku", "apps/blog"),
    "pm2": ("heroku", "apps/blog"),
    "supervisord": ("supervisord", "etc/supervisor/conf.d"),
    "uwsgi": ("uwsgi", "etc/uwsgi/vassals"),
}
# What a test must not have: a port of its own choice, servers, and commands that the samples only name.
_LEFT_OUT = ("port", "host", "services", "release", "health", "workers", "threads", "idle_after", "probation")


def commands_of(guide: str) -> list[list[str]]:
    """Return the commands of a guide that make manifests, the last without --check if all have it."""
    lines = [line for block in blocks(DOCS / f"howto/from-{guide}.md") for line in block.text.splitlines()]
    found = [shlex.split(line) for line in lines if re.match(r"reconciler (import|init) ", line)]
    assert found, f"from-{guide}.md has no command"
    return (
        found if any("--check" not in words for words in found) else [*found, [w for w in found[-1] if w != "--check"]]
    )


@pytest.mark.parametrize("guide", [
    "kamal",
    *(pytest.param(guide, marks=pytest.mark.nightly) for guide in GUIDES if guide != "kamal"),
])  # fmt: skip
def test_a_guide_ends_with_an_app_that_answers(site: Site, guide: str) -> None:
    sample, place = GUIDES[guide]
    source = site.root / place
    shutil.copytree(SAMPLES / sample, source, dirs_exist_ok=True)
    if guide == "pm2":  # whose reader has code alone
        for file in ("Procfile", "app.json"):
            (source / file).unlink()
        (source / "blog.py").rename(source / "app.py")
    for words in commands_of(guide):
        run(site, words, source if words[2] == "manifest.yml" else site.manifests)
    assert answer(site, source) == "imported"


@pytest.mark.nightly
def test_an_app_of_a_compose_file_answers(site: Site) -> None:
    source = site.root / "apps" / "blog"
    shutil.copytree(SAMPLES / "compose", source)
    run(site, ["reconciler", "import", "../apps/blog/docker-compose.yml"], site.manifests)
    assert answer(site, source) == "imported"


def answer(site: Site, source: Path) -> str:
    """What the imported app of a source answers, once a daemon serves it."""
    manifests = {path: yaml.safe_load(path.read_text()) for path in site.manifests.glob("*.yaml")}
    ((made, manifest),) = ((path, each) for path, each in manifests.items() if each.get("kind") != "service")
    kept = {name: value for name, value in manifest.items() if name not in _LEFT_OUT}
    for each in manifests:
        each.unlink()
    name, port = made.stem, a_port()
    assert (site.manifests / kept["path"]).resolve() == source.resolve()
    site.save(site.manifests / f"{name}.yaml", yaml.safe_dump({**kept, "port": port}))
    site.live()
    site.await_settled(name, within=60)
    return get(port)


def run(site: Site, words: list[str], cwd: Path) -> None:
    """Run a command of a guide; --check may say that something has no counterpart."""
    here = [re.sub(r"^/(?=etc/)", f"{site.root}/", word) for word in words[1:]]
    environment = {"RECONCILER_MANIFESTS": str(site.manifests), "RECONCILER_STATE": str(site.state)}
    result = subprocess.run(
        [sys.executable, "-m", "reconciler", *here],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode in ((0, 2) if "--check" in words else (0,)), result.stdout + result.stderr


def test_every_guide_is_followed() -> None:
    assert {page.stem.removeprefix("from-") for page in (DOCS / "howto").glob("from-*.md")} == set(GUIDES)
