"""What an installed gunicorn imports, and no package of an app requires."""

from pathlib import Path

import pytest

from reconciler.staging.environments.server_needs import needs_setuptools, worker_needs
from reconciler.staging.errors import StagingError

EXTRAS = """Metadata-Version: 2.4
Name: gunicorn
Requires-Dist: bottle
Provides-Extra: gevent
Requires-Dist: gevent>=24.10.1; extra == "gevent"
Requires-Dist: packaging>=20; extra == "gevent"
Provides-Extra: testing
Requires-Dist: coverage; extra == "testing"
"""


def site(top: Path, *packages: str) -> Path:
    for package in packages:
        (top / f"{package}.dist-info").mkdir()
        if package.startswith("gunicorn-"):
            (top / f"{package}.dist-info/METADATA").write_text(EXTRAS)
    return top


@pytest.mark.parametrize(
    ("packages", "needs"),
    [
        (("gunicorn-27.0.0", "gevent-25.1.1"), ("packaging>=20",)),
        (("gunicorn-27.0.0", "gevent-25.1.1", "packaging-25.0"), ()),
        (("gunicorn-27.0.0", "tornado-6.5", "testing-1.0"), ()),
        (("gevent-25.1.1",), ()),
    ],
)
def test_a_worker_class_gets_what_its_extra_requires(
    tmp_path: Path, packages: tuple[str, ...], needs: tuple[str, ...]
) -> None:
    assert worker_needs(site(tmp_path, *packages)) == needs


@pytest.mark.parametrize(
    ("packages", "imported", "needed"),
    [
        (("gunicorn-20.1.0", "setuptools-82.0.1"), False, True),
        (("gunicorn-19.9.0",), False, True),
        (("gunicorn-21.2.0",), False, False),
        (("gunicorn-27.0.0",), True, True),
        (("gunicorn-27.0.0", "setuptools-82.0.1"), True, True),
    ],
)
def test_setuptools_is_added_where_pkg_resources_is_imported(
    tmp_path: Path, packages: tuple[str, ...], imported: bool, needed: bool
) -> None:
    assert needs_setuptools(site(tmp_path, *packages), imported=imported, required=False) is needed
    (tmp_path / "pkg_resources").mkdir()
    assert not needs_setuptools(tmp_path, imported=imported, required=False)


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("import pkg_resources\n", True),
        ("from pkg_resources import require\n", True),
        ("import pkg_resources, os\n", True),
        ("try:\n    import pkg_resources\nexcept ImportError: ...\n", False),
        ("import pkg_resources_of_ours\n", False),
    ],
)
@pytest.mark.parametrize("more", [0, 200], ids=["few files", "many files"])
def test_a_package_that_cannot_do_without_pkg_resources_is_found(
    tmp_path: Path, line: str, needed: bool, more: int
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/module.py").write_text(f"import os\n{line}")
    for number in range(more):
        (tmp_path / f"package/another{number}.py").touch()
    assert needs_setuptools(site(tmp_path, "gunicorn-27.0.0"), imported=False, required=False) is needed


@pytest.mark.parametrize("more", [0, 200], ids=["few files", "many files"])
def test_tests_of_a_package_need_no_pkg_resources(tmp_path: Path, more: int) -> None:
    (tmp_path / "package/tests").mkdir(parents=True)
    (tmp_path / "package/tests/test_plugins.py").write_text("import pkg_resources\n")
    for number in range(more):
        (tmp_path / f"package/another{number}.py").touch()
    assert not needs_setuptools(site(tmp_path, "gunicorn-27.0.0"), imported=False, required=False)


def test_a_setuptools_that_the_app_requires_is_not_replaced(tmp_path: Path) -> None:
    packages = site(tmp_path, "gunicorn-20.1.0", "setuptools-82.0.1")
    with pytest.raises(StagingError, match=r"gunicorn 20\.1\.0 imports pkg_resources, .* require setuptools<81, or"):
        needs_setuptools(packages, imported=False, required=True)
    (packages / "gunicorn-20.1.0.dist-info").rename(packages / "gunicorn-27.0.0.dist-info")
    assert not needs_setuptools(packages, imported=True, required=True)
