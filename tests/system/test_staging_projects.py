"""One project for each way to list dependencies, and one for each Python of this host: staged and served for real.

All of them are one daemon's, so that tools, caches and waiting are shared.
"""

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.staging.detection.runtimes import discover
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get
from tests.support.store import Store

pytestmark = pytest.mark.network

PROJECTS = REPOSITORY / "tests/projects"
# Runs on every Python there is, and says what it is served with.
APP = """\
import sys
import bottle
{imports}
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("python %d.%d, bottle %s" % (sys.version_info[0], sys.version_info[1], bottle.__version__)).encode()]
"""
BARE = APP.replace("import bottle\n", "").replace(", bottle %s", "").replace(", bottle.__version__", "")
# As people deployed to AppFog in 2012: Python 2 source, found by its wsgi.py.
OF_2012 = """\
import bottle

@bottle.route('/')
def index():
    print "a request"
    return 'Hello from %s' % bottle.__version__.encode('ascii').decode('ascii')

application = bottle.default_app()
"""
SETUP = "from setuptools import setup\nsetup(name='{0}', version='1', py_modules=['{0}']{1})\n"
PACKAGE = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.8"
dependencies = ["bottle"]

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
"""
REQUIREMENTS = """\
-r more/base.txt
-c more/limits.txt
-e .
./lib
no-such-thing; python_version < '3'
"""
HASH = "sha256:045684fbd2764eac9cdeb824861d1551d113e8b683d8d26e296898d3dd99a12e"
LATEST = "bottle 0.13."


@dataclass(frozen=True, kw_only=True)
class Project:
    """Files to write, lock files to copy, fields of the manifest, and what the page must hold."""

    files: dict[str, str] = field(default_factory=dict)
    locked: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    page: str = LATEST


def importing(*modules: str) -> str:
    return APP.format(imports="".join(f"import {module}\n" for module in modules))


SOURCES: dict[str, Project] = {
    "requirements": Project(
        files={
            "wsgi.py": importing("shopping", "lib", "iniconfig"),
            "requirements.txt": REQUIREMENTS,
            "more/base.txt": f"bottle==0.13.4 --hash={HASH}\n",
            "more/limits.txt": "iniconfig==2.0.0\n",
            "setup.py": SETUP.format("shopping", ", install_requires=['iniconfig']"),
            "shopping.py": "",
            "lib/setup.py": SETUP.format("lib", ""),
            "lib/lib.py": "",
        },
        page="bottle 0.13.4",
    ),
    "uv-lock": Project(
        files={"wsgi.py": importing("itsdangerous", "click")},
        locked="uv",
        manifest={"dependencies": {"file": "uv.lock", "extras": ["fast"], "groups": ["prod"]}},
        page="bottle 0.13.4",
    ),
    "pylock": Project(files={"wsgi.py": importing("iniconfig")}, locked="pylock", page="bottle 0.13.4"),
    "poetry-lock": Project(
        files={"wsgi.py": importing("itsdangerous")},
        locked="poetry",
        manifest={"dependencies": {"extras": ["fast"]}},
        page="bottle 0.13.4",
    ),
    "pipfile-lock": Project(files={"wsgi.py": APP.format(imports="")}, locked="pipenv", page="3.11, bottle 0.13.4"),
    "pyproject": Project(
        files={"src/shop/__init__.py": "", "src/shop/wsgi.py": APP.format(imports=""), "pyproject.toml": PACKAGE}
    ),
    "setup-py": Project(
        files={
            "wsgi.py": importing("shopping"),
            "shopping.py": "",
            "setup.py": SETUP.format("shopping", ", install_requires=['bottle']"),
        }
    ),
    "none": Project(files={"wsgi.py": BARE.format(imports="")}, page="python 3."),
    "procfile": Project(
        files={
            "srv/web.py": APP.format(imports="") + "\ndef make():\n    return application\n",
            "Procfile": "release: true\nweb: gunicorn --chdir srv --workers 3 --timeout 90 -b :$PORT 'web:make()'\n",
            "requirements.txt": "bottle\n",
        }
    ),
    "monorepo": Project(
        files={
            "services/api/wsgi.py": importing("lib"),
            "services/api/requirements.txt": "-r ../../common.txt\n../../lib\n",
            "services/other/wsgi.py": "nothing of ours",
            "common.txt": "bottle\n",
            "lib/setup.py": SETUP.format("lib", ""),
            "lib/lib.py": "",
        },
        manifest={"dependencies": "services/api/requirements.txt"},
    ),
    "archive": Project(
        files={"wsgi.py": APP.format(imports=""), "requirements.txt": "bottle\n"},
        manifest={"path": "../archive.tar.gz"},
    ),
}
# A lock file that its own tool finds to be out of step, and what is said of it.
STALE: dict[str, tuple[str, str, str, str, str]] = {
    "stale-uv": (
        "uv", "pyproject.toml", '"bottle"', '"bottle>0.13"',
        "uv.lock: it does not match pyproject.toml; run `uv lock`, or set `dependencies: pyproject.toml` in",
    ),
    "stale-poetry": (
        "poetry", "pyproject.toml", 'bottle = "*"', 'bottle = ">0.13"',
        "poetry.lock: it does not match pyproject.toml; run `poetry lock`",
    ),
    "stale-pipfile": (
        "pipenv", "Pipfile", 'bottle = "*"', 'bottle = ">0.13"',
        "Pipfile.lock: it does not match Pipfile; run `pipenv lock`",
    ),
}  # fmt: skip
VERSIONS = ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
FOUND = frozenset(runtime.name for runtime in discover(()))
# Those before 3.8 are each installed for in a way of their own; of the others, the oldest and the newest every day.
EVERYDAY = ("2.7", "3.6", "3.7", "3.8", *[each for each in VERSIONS if f"python{each}" in FOUND][-1:])
STAGED = VERSIONS if os.environ.get("RECONCILER_TESTS") == "nightly" else EVERYDAY


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Site]:
    """Every project on one daemon."""
    site = Site.at(tmp_path_factory.mktemp("projects"), store)
    for name, project in SOURCES.items():
        write(site, name, project)
    for name, (locked, file, old, new, _) in STALE.items():
        write(site, name, Project(files={"wsgi.py": APP.format(imports="")}, locked=locked))
        asked = site.root / "apps" / name / file
        asked.write_text(asked.read_text().replace(old, new))
    for version in STAGED:
        if f"python{version}" in FOUND:
            write(site, f"python-{version.replace('.', '-')}", of_python(version))
    site.start()
    try:
        yield site
    finally:
        site.close()


def of_python(version: str) -> Project:
    if version == "2.7":
        files = {"wsgi.py": OF_2012, "requirements.txt": "bottle==0.12.25\n"}
        return Project(files=files, manifest={"runtime": "python2"}, page="Hello from 0.12.25")
    files = {"wsgi.py": APP.format(imports=""), "requirements.txt": "bottle\n"}
    return Project(files=files, manifest={"runtime": f"python{version}"}, page=f"python {version}, {LATEST}")


def write(site: Site, name: str, project: Project) -> None:
    directory = site.root / "apps" / name
    directory.mkdir()
    if project.locked:
        shutil.copytree(PROJECTS / project.locked, directory, dirs_exist_ok=True)
    for file, text in project.files.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(text)
    if str(project.manifest.get("path", "")).endswith(".tar.gz"):
        pack(directory, site.root / f"{name}.tar.gz")
    site.manifest(name, port=a_port(), **project.manifest)


def pack(directory: Path, archive: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(directory, arcname=f"{directory.name}-1.0")
    archive.write_bytes(packed.getvalue())


def serves(site: Site, name: str, page: str) -> None:
    """Wait until an app serves, and look at its page."""

    def settled() -> bool:
        told = site.told(name)
        assert told["state"] not in {"failing", "degraded", "invalid"}, told["message"]
        return site.settled(name)

    try:
        eventually(settled, within=300)
        assert page in get(int(site.told(name)["port"]))
    except AssertionError:
        print((site.paths.log(name, "staging")).read_text())
        print("\n".join(site.console.read_text().splitlines()[-30:]))
        raise


@pytest.mark.parametrize(
    "version",
    [pytest.param(each, marks=() if each in EVERYDAY else pytest.mark.nightly) for each in VERSIONS],
)
def test_every_python_of_this_host_serves(host: Site, version: str) -> None:
    if f"python{version}" not in FOUND:
        pytest.skip(f"this host has no Python {version}")
    serves(host, f"python-{version.replace('.', '-')}", of_python(version).page)


@pytest.mark.parametrize("name", SOURCES)
def test_every_way_to_list_dependencies_serves(host: Site, name: str) -> None:
    serves(host, name, SOURCES[name].page)


@pytest.mark.parametrize("name", STALE)
def test_a_lock_file_that_is_out_of_step_is_refused(host: Site, name: str) -> None:
    said = f"cannot stage {name}: cannot use {STALE[name][-1]}"
    eventually(lambda: said in host.told(name)["message"], within=300)
    assert host.told(name)["state"] == "failing"


def test_events_say_what_was_chosen_and_why(host: Site) -> None:
    staged = {app: text for app, kind, text in host.events() if kind == "staged"}
    assert "environment created, because none like it exists" in staged["uv-lock"]
    assert "ignored: --workers 3 (use the field 'workers')" in staged["procfile"]
    log = host.paths.log("uv-lock", "staging").read_text()
    assert "dependencies: uv.lock (`dependencies` in the manifest)" in log
