"""An entry point is refused where neither the source nor an installed package has its module, and only there."""

import shutil
from pathlib import Path

import pytest

from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.target import resolve
from reconciler.staging.environments.absent_module import refuse_absent
from reconciler.staging.errors import StagingError

APP = "def app(environ, start_response):\n    pass\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the code of an app, and with packages."""
    for name in ("code/main.py", "code/shop/__init__.py", "code/shop/wsgi.py", "code/lib/deep.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(APP)
    for name in ("site/datasette/app.py", "site/_virtualenv.pth", "site/fast.cpython-313-x86_64-linux-gnu.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def refused(place: Path, target: str) -> str:
    try:
        refuse_absent(resolve(place / "code", target), place / "code", place / "site")
    except StagingError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("target", "missing", "meant"),
    [
        ("mian:app", "mian", "; did you mean main:app?"),
        ("shop.wsgii:app", "shop/wsgii", "; did you mean shop.wsgi:app?"),
        ("nothing.alike:it", "nothing/alike", "; did you mean main:app?"),
    ],
)
def test_an_entry_point_without_a_module_is_refused_and_told_what_was_meant(
    place: Path, target: str, missing: str, meant: str
) -> None:
    assert refused(place, target) == (
        f"cannot use the entrypoint '{target}': the source has no {missing}.py or {missing}/, and neither has any"
        f" package that was installed{meant}"
    )


def test_what_is_refused_is_not_what_was_meant(place: Path) -> None:
    shutil.rmtree(place / "code")
    (place / "code").mkdir()
    (place / "code" / "Procfile").write_text("web: gunicorn nothing.alike:it\n")
    entry = detect(place / "code", None)
    with pytest.raises(StagingError, match=r"and neither has any package that was installed$"):
        refuse_absent(entry, place / "code", place / "site")


@pytest.mark.parametrize("target", ["main:app", "datasette.app:make", "fast:app", "deep:app", "wsgiref.types:app"])
def test_an_entry_point_whose_module_may_be_imported_is_left_to_the_start(place: Path, target: str) -> None:
    assert refused(place, target) == ""


def test_a_package_that_adds_directories_to_import_from_may_have_any_module(place: Path) -> None:
    (place / "site/__editable__.pth").write_text("/elsewhere")
    assert refused(place, "mian:app") == ""
