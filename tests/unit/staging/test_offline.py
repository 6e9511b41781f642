"""Packages beside the code: what makes a vendor/ directory replace an index."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from reconciler.staging.detection.offline import find_offline_packages, has_package


def a_zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, "")


def a_tar(path: Path, *names: str) -> None:
    with tarfile.open(path, "w:gz") as tarred:
        for name in names:
            tarred.addfile(tarfile.TarInfo(name), io.BytesIO())


@pytest.mark.parametrize(
    ("name", "members", "is_package"),
    [
        ("bottle-0.13.4-py3-none-any.whl", ("bottle.py",), True),
        ("fonts.whl", (), False),
        ("bottle-0.13.4.tar.gz", ("bottle-0.13.4/PKG-INFO",), True),
        ("bottle-0.13.4.zip", ("bottle-0.13.4/bottle.py", "bottle-0.13.4/setup.py"), True),
        ("anything.zip", ("setup.py",), False),
        ("bootstrap-5.3.0.zip", ("bootstrap-5.3.0/css/bootstrap.css",), False),
        ("jquery-3.7.1.tar.gz", ("package/jquery.js",), False),
    ],
)
def test_only_wheels_and_sdists_replace_an_index(
    tmp_path: Path, name: str, members: tuple[str, ...], is_package: bool
) -> None:
    (tmp_path / "vendor").mkdir()
    (a_tar if name.endswith(".gz") else a_zip)(tmp_path / "vendor" / name, *members)
    assert (find_offline_packages(tmp_path) is not None) is is_package


def test_a_package_is_found_under_any_spelling_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "Zope.Interface-5.0-py3-none-any.whl").touch()
    assert has_package(tmp_path, "zope-interface")
    assert not has_package(tmp_path, "zope")
