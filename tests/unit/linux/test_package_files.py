"""Our own files are found where they lie, without what an idle daemon would keep in memory for it."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from reconciler.linux.package_files import package_directory


@pytest.mark.parametrize("name", ["reconciler", "reconciler.serving", "reconciler.staging.detection"])
def test_a_package_is_where_the_interpreter_finds_it(name: str) -> None:
    assert package_directory(name) == Path(str(resources.files(name)))


def test_a_daemon_begins_without_what_it_seldom_needs() -> None:
    code = "import sys, reconciler.cli.run, reconciler.daemon.process; print({*sys.argv[1:]} & sys.modules.keys())"
    unused = ("importlib.resources", "pickle", "tempfile", "zipfile")
    done = subprocess.run([sys.executable, "-I", "-c", code, *unused], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
