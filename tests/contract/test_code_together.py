"""What forked processes run, and so write in, is in few pages of their fork server."""

import importlib
import json
import subprocess
from operator import attrgetter
from pathlib import Path

import pytest

from reconciler.serving.forkserver import code_together, run_code
from tests.contract.test_launch_isolated import _python

_PAGES = """
import json, os, sys, types
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import code_together, holes

module, other = types.ModuleType("app.part"), types.ModuleType("other")
for number in range(100):
    exec("def f%d(): return [lambda: %d]" % (number, number), module.__dict__)
    for more in range(40):
        exec("def f%d_%d(): return [lambda: %d]" % (number, more, number), other.__dict__)
functions = [each for name, each in vars(module).items() if isinstance(each, types.FunctionType)]
program = compile("def once(): return [lambda: 1]", "program", "exec")
if sys.argv[2:]:
    holes.fill_holes()
    first = {"app.part": " ".join(each.__name__ for each in functions[:50]), "gone": "f", "other": "gone"}
    named = first if sys.argv[2] == "first" else {}
    copy = code_together.put_together({sys.argv[2]}, named, program)
    assert copy is not program and copy == program
    if named:
        functions = functions[:50]
codes = [each.__code__ for each in functions]
codes += [each for code in codes for each in code.co_consts if isinstance(each, types.CodeType)]
pages = {at >> 12 for code in codes for at in (id(code), id(code) + sys.getsizeof(code) - 1)}
print(json.dumps([len(codes), [each()[0]() for each in functions] == list(range(len(functions))), len(pages)]))
"""


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_code_of_named_packages_is_in_few_pages_and_does_what_it_did(version: str) -> None:
    def pages(*packages: str) -> int:
        command = (_python(version), "-c", _PAGES, str(Path(code_together.__file__)), *packages)
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        count, same, found = json.loads(ran.stdout)
        assert (count, same) == (100 if "first" in packages else 200, True)
        return int(found)

    assert pages() > 90
    assert pages("another") > 90
    assert pages("app") < 30
    assert pages("first") < 18  # half of these functions, by their names


def test_what_is_named_of_our_own_code_is_there() -> None:
    for module, names in run_code.RUN.items():
        if module.startswith("reconciler."):
            loaded = importlib.import_module(module)
            missing = [name for name in names.split() if not _has(loaded, name.partition(".<locals>")[0])]
            assert missing == [], module


def _has(module: object, name: str) -> bool:
    try:
        return callable(attrgetter(name)(module)) or isinstance(attrgetter(name)(module), property)
    except AttributeError:
        return False
