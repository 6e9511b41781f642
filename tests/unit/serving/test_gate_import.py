"""Why an import failed, in one line: with the name that Python proposes, and never failing itself."""

import subprocess
from pathlib import Path

import pytest

from reconciler.linux.package_files import package_directory
from reconciler.serving.gate_import import reason
from reconciler.staging.detection.runtimes import discover

# From this version on, an error has the proposal that earlier ones only print.
PROPOSES = (3, 12)
TELL = (
    "import sys; sys.path.insert(0, sys.argv[1])\nfrom gate_import import reason\n"
    "try:\n    exec(sys.argv[2], {})\nexcept Exception as error:\n    print(reason(error))"
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests is code of an app."""
    monkeypatch.chdir(tmp_path)


def told(code: str) -> str:
    try:
        exec(compile(code, "/elsewhere/wsgi.py", "exec"), {})
    except Exception as error:  # noqa: BLE001  any
        return str(reason(error))  # type: ignore[no-untyped-call]  # as the gate is for Python 2
    return ""


@pytest.mark.parametrize(
    ("code", "meant"),
    [("from json import dumbs", "dumps"), ("import json; json.dumbs", "dumps"), ("prnt(1)", "print")],
)
def test_the_name_that_was_meant_is_proposed(code: str, meant: str) -> None:
    proposing = [each.path for each in discover(()) if each.release >= PROPOSES]
    if not proposing:
        pytest.skip("no Python of this host proposes names")
    place = str(package_directory("reconciler.serving"))
    done = subprocess.run(
        [proposing[0], "-c", TELL, place, code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith(f". Did you mean: '{meant}'?\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("class A:\n  def __str__(self): 1 / 0\nraise AttributeError(A())", "AttributeError"),
        ("raise NameError('no. Did you\\nmean it')", "NameError: no. Did you mean it"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_no_other_error_is_told_with_a_proposal(code: str, said: str) -> None:
    assert told(code) == said
