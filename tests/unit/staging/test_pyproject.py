"""What pyproject.toml says of uv and of the project itself."""

from pathlib import Path

import pytest

from reconciler.staging.detection.pyproject import drop_required_uv, is_package

BEFORE = """[tool.black]
required-version = "25"
[tool.uv]
index-strategy = "first-index"
required-version = ">=99"  # ours
[tool.uv.sources]
x = {path = "x"}
"""


def test_only_the_version_of_uv_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(BEFORE)
    (tmp_path / "uv.toml").write_text('required-version = "==1"\nno-index = true\n')
    drop_required_uv(tmp_path)
    assert (tmp_path / "pyproject.toml").read_text() == BEFORE.replace('required-version = ">=99"  # ours', "")
    assert (tmp_path / "uv.toml").read_text() == "\nno-index = true\n"


def test_a_project_without_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.black]\nrequired-version = "25"\n')
    before = (tmp_path / "pyproject.toml").stat()
    drop_required_uv(tmp_path)
    after = (tmp_path / "pyproject.toml").stat()  # its time of access is another, as it was read
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


@pytest.mark.parametrize(
    ("text", "installed"),
    [
        ("[project]\nname = 'x'\n", False),
        ("[build-system]\nrequires = []\n", True),
        ("[build-system]\nrequires = []\n[tool.uv]\npackage = false\n", False),
        ("[tool.uv]\npackage = true\n", True),
        ("[build-system]\nrequires = []\n[tool.poetry]\npackage-mode = false\n", False),
        ("", False),
    ],
)
def test_a_project_is_a_package_if_it_has_a_build_system_or_says_so(tmp_path: Path, text: str, installed: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert is_package(tmp_path) is installed
