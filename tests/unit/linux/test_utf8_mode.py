"""One name is the same in each locale, and what a program reads and writes is UTF-8."""

import subprocess
import sys

import pytest

from tests.support.site import REPOSITORY

_SAYS = """\
import os, sys
from reconciler.linux.utf8_mode import ensure_utf8
print("begun", flush=True)
ensure_utf8()
print(ascii(sys.argv[1]), open(os.devnull).encoding.lower(), os.environ.get("PYTHONUTF8"))
"""


@pytest.mark.parametrize(
    ("locale", "words", "begun"),
    [
        ({"LC_ALL": "C.UTF-8"}, (), 1),
        ({"LC_ALL": "C"}, (), 1),  # of which Python makes UTF-8 itself
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, (), 2),
        ({"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0"}, (), 2),
        ({"LC_ALL": "C"}, ("-X", "utf8=0"), 2),
    ],
)
def test_a_program_is_executed_anew_at_most_once_and_its_environment_stays(
    locale: dict[str, str], words: tuple[str, ...], begun: int
) -> None:
    done = subprocess.run(
        [sys.executable, *words, "-c", _SAYS, "ü"],
        env={**locale, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    last = f"{'ü'!a} utf-8 {locale.get('PYTHONUTF8')}"
    assert (done.stdout.splitlines(), done.stderr) == ([*["begun"] * begun, last], "")
