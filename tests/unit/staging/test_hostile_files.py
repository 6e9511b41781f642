"""Files of a source that are not what they seem: each is refused by name, at once and within bounds of memory.

Every story runs in a process with limits of its own, so that what waits or swells fails and does not hang the tests.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.staging.detection.entry_point import detect
from tests.support.hostile_files import a_huge_file, a_pipe, an_endless_file

_READ = """
import json, resource, signal, sys
from pathlib import Path

signal.alarm(120)
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, 700 << 20))
from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.python_version import choose_runtime
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.errors import StagingError
from reconciler.staging.source.snapshot import fingerprint

python = Runtime(name="python3.11", description="CPython 3.11", version="3.11.7", path="/usr/bin/python3.11")
for path in sys.argv[1:]:
    code, refused = Path(path), ""
    try:
        fingerprint(str(code))
        dependencies(code, DependencyOptions())
        choose_runtime((python,), None, code)
        detect(code, None)
    except StagingError as error:
        refused = str(error)
    print(json.dumps(refused))
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return plant(tmp_path / "code")


def plant(source: Path) -> Path:
    """Write an app that there is nothing wrong with."""
    source.mkdir()
    (source / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    return source


def told(*codes: Path) -> list[str]:
    """Return why each source is refused, "" if it is taken; all are read in one process, one after the other."""
    done = subprocess.run((sys.executable, "-c", _READ, *codes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


_FILES = [".reconcilerignore", "requirements.txt", "pyproject.toml", "uv.lock", "runtime.txt", "Procfile", "wsgi.py"]


@pytest.mark.parametrize("make", [a_pipe, an_endless_file, a_huge_file])
def test_what_is_no_file_of_a_sensible_size_is_refused_by_its_name(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    codes = [plant(tmp_path / f"code-{number}") for number in range(len(_FILES))]
    for code, name in zip(codes, _FILES, strict=True):
        (code / name).unlink(missing_ok=True)
        make(code / name)
    refusals = dict(zip(_FILES, told(*codes), strict=True))
    assert [name for name, refusal in refusals.items() if name not in refusal] == []


def test_a_pattern_that_is_not_valid_is_refused_with_its_line(tmp_path: Path) -> None:
    patterns = {
        "[z-a]": "the range z-a runs backwards",
        "a\\": "it ends with a backslash",
        "a" * 5000: "a pattern has at most 1000 characters",
    }
    codes = [plant(tmp_path / f"code-{number}") for number in range(len(patterns))]
    for code, pattern in zip(codes, patterns, strict=True):
        (code / ".reconcilerignore").write_text(f"ok\n{pattern}\n")
    for refusal, expected in zip(told(*codes), patterns.values(), strict=True):
        assert refusal.endswith(f".reconcilerignore:2 is not valid: {expected}")


def test_there_is_an_end_to_the_number_of_patterns(code: Path) -> None:
    (code / ".reconcilerignore").write_text("a\n" * 2000)
    assert ".reconcilerignore:1001 is not valid: there are more than 1000 patterns" in told(code)[0]


def test_no_pattern_takes_longer_than_a_file_is_long(tmp_path: Path) -> None:
    patterns = ["*a" * 60 + "b", "**/a/" * 100 + "b", "*" * 200 + "b", "a*" * 300, "?*" * 200 + "b"]
    codes = [plant(tmp_path / f"code-{number}") for number in range(len(patterns))]
    for code, pattern in zip(codes, patterns, strict=True):
        deep = code / "/".join(["a"] * 100)
        deep.mkdir(parents=True)
        (deep / ("a" * 200)).write_text("")
        (code / ".reconcilerignore").write_text(pattern)
    assert told(*codes) == [""] * len(patterns)


def test_an_ignore_file_is_not_read_through_a_link_that_leads_out(code: Path) -> None:
    (code.parent / "secret").write_text("[")
    (code / ".reconcilerignore").symlink_to("../secret")
    assert "cannot read .reconcilerignore: it is a link that leads out of the source" in told(code)[0]


def test_a_sparse_file_and_a_tree_without_a_bottom_are_refused_by_name(tmp_path: Path) -> None:
    sparse, deep = plant(tmp_path / "sparse"), plant(tmp_path / "deep")
    with (sparse / "disk.img").open("wb") as file:
        file.truncate(4 << 30)
    here = os.getcwd()  # noqa: PTH109  a path this deep has no name, so it is made step by step
    try:
        os.chdir(deep)
        for _ in range(1500):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
    finally:
        os.chdir(here)
    refusals = told(sparse, deep)
    subprocess.run(("rm", "-rf", deep / "d"), check=True)
    assert "disk.img is a sparse file: a copy would take 4 GiB" in refusals[0]
    assert "d/d/d is more than 256 directories deep" in refusals[1]


def test_what_no_version_and_no_key_looks_like_is_refused_by_file(tmp_path: Path) -> None:
    contents = [
        ("runtime.txt", "python-3." + "1" * 5000),
        ("pyproject.toml", f"{'a.' * 30_000}a = 1"),
        ("pyproject.toml", f"a = {'[' * 50_000}"),
        ("pyproject.toml", f'[project]\nname = "x"\nrequires-python = ">={"1" * 9000}"'),
    ]
    codes = [plant(tmp_path / f"code-{number}") for number in range(len(contents))]
    for code, (name, content) in zip(codes, contents, strict=True):
        (code / name).write_text(content)
    assert [name for (name, _), refusal in zip(contents, told(*codes), strict=True) if name not in refusal] == []


def test_whatever_a_module_holds_it_is_looked_at_within_bounds(tmp_path: Path) -> None:
    texts = [
        f"application = {'-' * 100_000}1\n",
        f"application = {'f(' * 5000}x{')' * 5000}\n",
        f"application = {'a.' * 50_000}b\n",
        "a:\n" * 100_000 + "application = (\n",
        "application = x0\n" + "".join(f"x{n} = x{n + 1}\n" for n in range(20_000)),
        "".join(f"def f{n}(): return f{n + 1}()\n" for n in range(6000)) + "application = f0()\n",
        "from a import *\n" + "a,\n" * 700_000 + "application = None\n",
        f"application = {'(' * 3_000_000}\n",
    ]
    codes = [plant(tmp_path / f"code-{number}") for number in range(len(texts))]
    for code, text in zip(codes, texts, strict=True):
        (code / "wsgi.py").write_text(text)
    assert told(*codes) == [""] * len(texts)


def test_the_app_of_a_large_module_is_found(code: Path) -> None:
    (code / "wsgi.py").unlink()
    lines = "".join(f"def view_{n}():\n    return [{n}, 'x' * {n}]\n\n\n" for n in range(2000))
    (code / "app.py").write_text(f"from flask import Flask\n\napp = Flask(__name__)\n\n\n{lines}")
    assert detect(code, None).target == "app:app"


def test_names_that_are_not_utf_8_are_told_with_escapes(code: Path) -> None:
    (code / "wsgi.py").unlink()
    Path(os.fsdecode(os.fsencode(code) + b"/caf\xe9")).write_text("")
    assert "caf\\udce9" in told(code)[0]
