"""An app as an image: the same bytes from another place, and what starts it serves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.images import a_base
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get, is_refused

pytestmark = pytest.mark.system

_OF_AN_IMAGE = re.compile(r"(/tmp)?/reconciler/")  # where its files are, and where its programs write


def image(site: Site, state: Path, output: Path, base: Path, code: int = 0) -> dict[str, Any]:
    words = ["image", "shop", "--base", str(base), "--output", str(output), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *words, "--manifests", str(site.manifests), "--state", str(state)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout if not code else done.stderr.splitlines()[-1])
    return found


def unpacked(output: Path, digest: str, root: Path, interpreter: Path) -> dict[str, Any]:
    """Unpack the layers of an image below `root`, with all its paths leading there; return its configuration."""
    blobs = output / "blobs" / "sha256"
    manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_text())
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].removeprefix("sha256:")) as archive:
            archive.extractall(root, filter="tar")
    for file in (root / "reconciler" / "run").iterdir():
        file.write_text(_OF_AN_IMAGE.sub(lambda path: f"{root}{path[0]}", file.read_text()))
    python = root / "reconciler" / "environment" / "bin" / "python"
    python.unlink()
    python.symlink_to(interpreter)
    config: dict[str, Any] = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    return config


def test_an_image_is_the_same_from_another_place_and_serves(site: Site, tmp_path: Path) -> None:
    fields = {"workers": 2, "health": {"path": "/"}, "env": {"A": "b"}, "services": ["db"], "port": 8001}
    site.manifest("shop", **fields)
    source = site.source("shop", helper="x = 1\n")
    a_base(tmp_path / "base", *(f"3.{minor}" for minor in range(8, 30)))
    first = image(site, site.state, tmp_path / "one", tmp_path / "base")
    assert first["to_give"] == ["VCAP_SERVICES with the credentials of db"]

    copy = site.root / "apps" / "copy"
    shutil.copytree(source, copy, copy_function=shutil.copyfile)
    for file in copy.iterdir():
        file.chmod(0o600)
        os.utime(file, (1, 1))
    site.manifest("shop", path="../apps/copy", **fields)
    other = image(site, site.state, tmp_path / "two", tmp_path / "base")
    assert other["image"] == first["image"]

    (copy / "helper.py").write_text("x = 2\n")
    edited = image(site, site.state, tmp_path / "two", tmp_path / "base")
    changed = {role for role, layer in edited["layers"].items() if layer != first["layers"][role]}
    assert changed == {"code"}
    kept = {file.name for file in (tmp_path / "one" / "blobs" / "sha256").iterdir()}
    new = [file for file in (tmp_path / "two" / "blobs" / "sha256").iterdir() if file.name not in kept]
    assert len(new) == 3  # with the configuration and the manifest; none is left of the image before
    assert edited["layers"]["code"]["size"] < 2048

    root = tmp_path / "root"
    (interpreter,) = {link.resolve() for link in site.paths.environments.glob("*/bin/python")}
    config = unpacked(tmp_path / "one", first["image"], root, interpreter)
    assert config["config"]["User"] == "65532:65532"
    entry = [word.replace("/reconciler/", f"{root}/reconciler/") for word in config["config"]["Entrypoint"]]
    port = a_port()
    env = {"PATH": os.environ["PATH"], "PORT": str(port)}
    with (tmp_path / "log").open("w") as log:
        web = subprocess.Popen(entry, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: not is_refused(port) and get(port) == "1", within=120)
        held = json.loads(get(port, "/env"))
        assert (held["A"], held["VCAP_SERVICES"], held["PORT"]) == ("b", "{}", str(port))
        web.send_signal(signal.SIGTERM)
        assert web.wait(120) == 0
    except AssertionError:
        print((tmp_path / "log").read_text())
        raise
    finally:
        web.kill()
        web.wait()
    done = subprocess.run([*entry, "sh", "-c", "pwd; exit 7"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, f"{root}/reconciler/code\n")


def test_what_no_image_can_hold_is_refused_with_its_reason(site: Site, tmp_path: Path) -> None:
    a_base(tmp_path / "base", "2.6")
    site.app("shop")
    error = image(site, site.state, tmp_path / "out", tmp_path / "base", code=1)["error"]
    assert "the base has no Python" in error["message"]
    assert not (tmp_path / "out" / "index.json").exists()
