"""`make release` builds only what anybody can build again: whole commits, tagged, described and checked."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.site import REPOSITORY

_NOTES = "# Changes\n\n## 1.2.3 (2026-01-02)\n\n- Everything.\n"
_WHO = {f"GIT_{role}_{what}": "nobody@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = {**kept, **_WHO, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def git(tree: Path, *words: str) -> None:
    done = run("git", *words, cwd=tree)
    assert done.returncode == 0, done.stderr


def commit(tree: Path) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "Say something")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that is all a release needs, where the checks only leave word that they were made."""
    tree = tmp_path / "tree"
    (tree / "scripts").mkdir(parents=True)
    (tree / "reconciler").mkdir()
    for name in ("scripts/release", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        (tree / name).write_bytes((REPOSITORY / name).read_bytes())
    (tree / "scripts" / "release").chmod(0o755)
    (tree / "reconciler" / "__init__.py").touch()
    (tree / "schemas").mkdir()
    (tree / "schemas" / "app.schema.json").write_text("{}\n")
    (tree / "CHANGELOG.md").write_text(_NOTES)
    (tree / "Makefile").write_text("test:\n\t@echo checked >dist-checks\n")
    (tree / ".gitignore").write_text("/.venv\n/dist/\n/dist-checks\n/reconciler/_version.py\n__pycache__/\n")
    (tree / ".venv").symlink_to(sys.prefix)
    git(tree, "init", "--quiet")
    commit(tree)
    return tree


def refusal(tree: Path) -> str:
    """What a release says that is refused before anything is checked or built."""
    done = run("scripts/release", cwd=tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not (tree / "dist").exists()
    assert not (tree / "dist-checks").exists()
    return done.stderr


def test_a_tree_that_differs_from_its_commit_is_not_released(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    (tree / "reconciler" / "new.py").touch()
    assert "differs from its commit" in refusal(tree)


def test_a_commit_without_a_tag_is_not_released(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    (tree / "reconciler" / "new.py").touch()
    commit(tree)
    assert "has no tag" in refusal(tree)


def test_a_version_without_its_notes_is_not_released(tree: Path) -> None:
    git(tree, "tag", "v1.2.4")
    assert "CHANGELOG.md has no '## 1.2.4" in refusal(tree)


def test_what_does_not_pass_the_checks_is_not_released(tree: Path) -> None:
    (tree / "Makefile").write_text("test:\n\t@false\n")
    commit(tree)
    git(tree, "tag", "v1.2.3")
    assert run("scripts/release", cwd=tree).returncode != 0
    assert not (tree / "dist").exists()


@pytest.mark.network
def test_a_release_has_wheel_sdist_bill_of_materials_and_sums_and_is_the_same_from_another_clone(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    done = run("scripts/release", cwd=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tree / "dist-checks").exists()
    lines = (tree / "dist" / "SHA256SUMS").read_text().splitlines()
    sums = {name: told for told, _, name in (line.partition("  ") for line in lines)}
    assert set(sums) == {"reconciler-1.2.3-py3-none-any.whl", "reconciler-1.2.3.tar.gz", "sbom.cdx.json"}
    for name, told in sums.items():
        assert hashlib.sha256((tree / "dist" / name).read_bytes()).hexdigest() == told
    bill = json.loads((tree / "dist" / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == ("reconciler", "1.2.3")
    locked = {line.split(" ")[0] for line in (tree / "requirements.lock").read_text().splitlines() if "==" in line}
    assert {f"{part['name']}=={part['version']}" for part in bill["components"]} == locked
    other = tree.parent / "elsewhere" / "clone"
    git(tree, "clone", "--quiet", str(tree), str(other))
    when = run("git", "log", "-1", "--format=%ct", cwd=other).stdout.strip()
    built = run("env", f"SOURCE_DATE_EPOCH={when}", sys.executable, "-m", "hatchling", "build", "-d", "dist", cwd=other)
    assert built.returncode == 0, built.stdout + built.stderr
    for name in set(sums) - {"sbom.cdx.json"}:
        assert (other / "dist" / name).read_bytes() == (tree / "dist" / name).read_bytes()
