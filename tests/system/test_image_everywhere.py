"""The same source gives the same image whatever differs between two checkouts, users, machines and times."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.images import a_base
from tests.support.site import REPOSITORY, Site

_PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
_FILES = ("manage.py", "shop/__init__.py", "shop/views.py", "static/ä.css", "z.txt", "a.txt")


@dataclass(slots=True)
class Place:
    """Where, as whom and with what an image is made; each field is one difference."""

    top: Path
    names: tuple[str, ...] = _FILES
    umask: int = 0o022
    mtime: int = 1_700_000_000
    user: int | None = None
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)


def _other_times(place: Place) -> None:
    place.mtime = 1_000_000_000


def _other_modes(place: Place) -> None:
    place.umask = 0o077


def _other_order(place: Place) -> None:
    place.names = place.names[::-1]


def _other_path(place: Place) -> None:
    place.top = place.top / "a much longer path" / "with ünicode"


def _other_locale(place: Place) -> None:
    place.env |= {"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0"}


def _other_timezone(place: Place) -> None:
    place.env["TZ"] = "Pacific/Kiritimati"


def _other_hashes(place: Place) -> None:
    place.env["PYTHONHASHSEED"] = "4711"


def _other_user(place: Place) -> None:
    place.user = 61_000 + os.getpid() % 4000


def _all_of_them(place: Place) -> None:
    for each in (_other_times, _other_modes, _other_order, _other_path, _other_locale, _other_timezone, _other_hashes):
        each(place)


def _made(place: Place) -> tuple[str, dict[str, str]]:
    """Make an image at a place, in a state directory of its own; return its digest and those of its layers."""
    before = os.umask(place.umask)
    try:
        for directory in (place.top, *(place.top / name for name in ("manifests", "home"))):
            directory.mkdir(parents=True, exist_ok=True)
        site = Site(root=place.top)
        app = place.top / "apps" / "shop"
        app.mkdir(parents=True)
        for name in place.names:
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(f"# {name}\n")
        (app / "manage.py").chmod((app / "manage.py").stat().st_mode | 0o100)
        (app / "current.txt").symlink_to("a.txt")
        site.source("shop")
        site.manifest("shop", workers=2, port=8001, env={"A": "ä"})
        base = a_base(place.top / "base", *(f"3.{minor}" for minor in range(8, 30)))
        for file in app.rglob("*"):
            os.utime(file, (place.mtime, place.mtime), follow_symlinks=False)
        if place.user is not None:
            for file in (place.top, *place.top.rglob("*")):
                os.chown(file, place.user, place.user, follow_symlinks=False)
    finally:
        os.umask(before)
    words = ["image", "shop", "--base", f"{place.top}/base@{base}", "--output", f"{place.top}/image", "--json"]
    words += ["--manifests", str(site.manifests), "--state", str(place.top / "state")]
    done = subprocess.run(
        [place.python, "-m", "reconciler", *words],
        capture_output=True, text=True, check=False, timeout=300, user=place.user, group=place.user,
        extra_groups=[] if place.user is not None else None, umask=place.umask, cwd=place.top,
        env={"PATH": os.environ["PATH"], "HOME": f"{place.top}/home", "PYTHONPATH": str(REPOSITORY), **place.env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["image"], {role: layer["digest"] for role, layer in told["layers"].items()}


_ALONE = [_other_times, _other_modes, _other_order, _other_path, _other_locale, _other_timezone, _other_hashes]


@pytest.mark.parametrize("differs", [_all_of_them, *(pytest.param(each, marks=pytest.mark.nightly) for each in _ALONE)])
def test_a_difference_that_is_not_of_the_source_leaves_every_byte_as_it_is(
    tmp_path: Path, differs: Callable[[Place], None]
) -> None:
    there = Place(top=tmp_path / "there")
    differs(there)
    assert _made(Place(top=tmp_path / "here")) == _made(there)


@pytest.mark.nightly
@pytest.mark.network
@pytest.mark.skipif(os.geteuid() != 0 or not Path(_PYTHON).exists(), reason=f"needs root, and {_PYTHON}")
def test_another_user_makes_the_same_image() -> None:
    """Both use an environment upon the Python that every user may run; root's own may be out of the other's reach."""
    installed = sysconfig.get_path("purelib")
    with TemporaryDirectory(prefix="reconciler-", dir="/tmp") as directory:
        top = Path(directory)
        top.chmod(0o755)
        made = subprocess.run(
            [sys.executable, "-m", "virtualenv", "--quiet", "--no-seed", "--python", _PYTHON, str(top / "venv")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        python = str(top / "venv" / "bin" / "python")
        (packages,) = (top / "venv" / "lib").glob("python3*/site-packages")
        (packages / "reconciler.pth").write_text(f"{REPOSITORY}\n{installed}\n")
        there = Place(top=top / "there", python=python, env={"PATH": "/usr/bin:/bin"})
        _other_user(there)
        tried = subprocess.run([python, "-c", "import click, reconciler"], user=there.user, check=False, cwd="/")
        if tried.returncode != 0:
            pytest.skip(f"another user cannot read {REPOSITORY} and {installed}")
        assert _made(Place(top=top / "here", python=python, env={"PATH": "/usr/bin:/bin"})) == _made(there)
