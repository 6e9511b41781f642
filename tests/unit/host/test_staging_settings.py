"""The stager is given the uv that belongs to our own environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from reconciler.host.staging_settings import uv_program


def test_the_uv_of_our_environment_is_found_without_what_tells_how_python_was_built() -> None:
    code = (
        "import sys\nfrom reconciler.host.staging_settings import uv_program\n"
        "print(uv_program())\nprint([name for name in sys.modules if name.startswith('_sysconfigdata')])\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{os.fsdecode(uv.find_uv_bin())}\n[]\n"


def test_without_one_in_our_environment_its_package_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = uv_program()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(uv, "find_uv_bin", found.encode)
    assert uv_program() == found
