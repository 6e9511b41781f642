"""Where environments can be, and which installer makes them."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments.identity import installed_version
from reconciler.staging.environments.installers import check_directory
from reconciler.staging.errors import StagingError


def runtime(number: str) -> Runtime:
    return Runtime(name="python", description=f"Python {number}", version=number, path="/usr/bin/python")


@pytest.mark.parametrize(
    ("path", "number", "says"),
    [
        ("/state/a:b", "3.12.1", r"no environment can be in /state/a:b: its path contains ':', which separates"),
        ("/state/\udcff", "3.12.1", r"in /state/\\udcff: its path is not UTF-8; choose another directory with --state"),
        ("/état", "2.7.18", r"its path is not ASCII, as Python 2\.7\.18 needs it"),
    ],
)
def test_a_path_that_no_environment_can_have_is_refused_by_name(path: str, number: str, says: str) -> None:
    with pytest.raises(StagingError, match=says):
        check_directory(Path(path), runtime(number))


@pytest.mark.parametrize("path", ["/état", "/with space and '", "/\U0001f600"])
def test_any_other_path_will_do(path: str) -> None:
    check_directory(Path(path), runtime("3.12.1"))


@pytest.mark.parametrize("package", ["virtualenv", "packaging", "uv"])
def test_a_version_is_what_the_metadata_says(package: str) -> None:
    assert installed_version(package) == version(package)


def test_the_version_of_the_installer_loads_no_parser_of_metadata() -> None:
    program = (
        "import sys\n"
        "from reconciler.staging.environments.identity import installed_version\n"
        "installed_version('virtualenv')\n"
        "assert 'importlib.metadata' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
