"""When a build that cannot be made is tried again: by what an installer wrote, or by what raised the error."""

import errno
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.planning.apps.retry import Retry
from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.offline import BUNDLE, INDEX, unpack_bundle
from reconciler.staging.detection.python_version import choose_runtime
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments.installer_env import host_files
from reconciler.staging.environments.outlook import retry_of
from reconciler.staging.errors import CommandFailed, SourceError, StagingError, UnsuitablePython
from reconciler.staging.source.reading import source_text

PYTHON = Runtime(name="python3.13", description="Python 3.13.0", version="3.13.0", path="/usr/bin/python3.13")
NEWER = "[project]\nname = 'a'\nversion = '1'\nrequires-python = '>=3.99'\n"
CODE = Path("/code")
LACKS = "  cause: No solution found\n  cause: Because a was not found in the cache"
OLD = Runtime(name="python3.5", description="Python 3.5.2", version="3.5.2", path="/usr/bin/python3.5")


# The outputs are uv's and pip's own, shortened.
@pytest.mark.parametrize(
    ("output", "retry"),
    [
        (
            "error: Couldn't parse requirement in `requirements.txt` at position 0\n  cause: Unexpected end of version",
            "never",
        ),
        ("ERROR: Invalid requirement: 'flask==': Expected end or semicolon (after name)", "never"),
        ("error: Unexpected '=', expected '-c', '-e', '-r' or the start of a requirement: /code/a.txt:1:1", "never"),
        ("error: File not found: /code/more.txt", "never"),
        ("error: File not found: /etc/limits.txt", "later"),
        ("error: File not found: limits.txt", "later"),
        (
            "ERROR: Could not open requirements file: [Errno 2] No such file or directory: '/code/more.txt'",
            "never",
        ),
        (
            "ERROR: Could not open requirements file: [Errno 2] No such file or directory: '/etc/limits.txt'",
            "later",
        ),
        ("  cause: Because there is no version of flask==99.1 and you require flask==99.1, we can", "soon"),
        ("  cause: No solution found\n  cause: Because there is no version of flask==99.1 and you require", "later"),
        ("  cause: No solution found\n  cause: Because flaskk was not found in the package registry and you", "later"),
        ("ERROR: Could not find a version that satisfies the requirement flask==99.1 (from versions: 0.1)", "later"),
        ("ERROR: No matching distribution found for flask==99.1", "later"),
        ("error: Failed to build `psycopg2==2.8`\n  cause: The build backend returned an error", "later"),
        (
            "error: Failed to fetch: `https://index/simple/a/`\n  cause: HTTP status client error (401 Unauthorized)",
            "later",
        ),
        (
            "error: Failed to fetch: `https://index/simple/a/`\n  cause: HTTP status client error (429 Too Many)",
            "soon",
        ),
        (
            "error: Failed to fetch: `https://index/simple/a/`\n  cause: HTTP status server error (503 Unavailable)",
            "soon",
        ),
        (
            "error: Failed to fetch: `https://index/simple/a/`\n  cause: error sending request\n  cause: dns error",
            "soon",
        ),
        ("error: Failed to build `a==1`\n  cause: Failed to fetch: `https://index/b`\n  cause: timed out", "soon"),
        ("error: failed to write to file\n  cause: No space left on device (os error 28)", "soon"),
        ("", "soon"),
        ("something new", "soon"),
    ],
)
def test_what_an_installer_wrote_says_whether_its_failure_can_pass(output: str, retry: Retry) -> None:
    assert retry_of(output, code=CODE, offline=False, host_files=()) == retry


def test_what_the_codes_own_packages_lack_only_an_edit_brings() -> None:
    assert retry_of(LACKS, code=CODE, offline=True, host_files=()) == "never"
    assert retry_of("error: No space left on device", code=CODE, offline=True, host_files=()) == "soon"


@pytest.mark.parametrize(
    "output",
    [
        "error: Failed to build `psycopg2==2.8`\n  cause: The build backend returned an error\n  gcc: not found",
        "ERROR: Failed building wheel for psycopg2",
        "error: metadata-generation-failed",
    ],
)
def test_a_compiler_or_a_header_comes_to_a_host_without_an_edit(output: str) -> None:
    assert retry_of(output, code=CODE, offline=True, host_files=()) == "later"


def test_what_files_of_the_host_rule_out_they_may_allow_later() -> None:
    given = host_files({"UV_CONSTRAINT": "/etc/limits.txt /etc/more.txt", "UV_INDEX_URL": "https://index"})
    assert given == ("/etc/limits.txt", "/etc/more.txt")
    malformed = "error: Couldn't parse requirement in `{}` at position 0"
    assert retry_of(malformed.format("/etc/more.txt"), code=CODE, offline=False, host_files=given) == "later"
    assert retry_of(malformed.format("/code/a.txt"), code=CODE, offline=False, host_files=given) == "never"
    assert retry_of(LACKS, code=CODE, offline=True, host_files=given) == "later"


def test_what_is_no_readable_file_of_the_code_only_an_edit_changes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "requirements.txt")
    (tmp_path / "out").symlink_to("/etc/hostname")
    for name in ("requirements.txt", "out"):
        with pytest.raises(SourceError) as told:
            source_text(tmp_path / name, within=tmp_path)
        assert told.value.retry == "never"


def test_a_bundle_for_another_python_may_be_used_once_the_host_has_that(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / BUNDLE, "w") as made:
        made.writestr(INDEX, '{"runtime": "python3.99", "files": {}, "dependencies": {}, "built": []}')
    with pytest.raises(StagingError, match=r"it was made for python3\.99, but the app runs on python3\.13") as told:
        unpack_bundle(tmp_path / BUNDLE, tmp_path / "unpacked", PYTHON, dependencies(tmp_path, DependencyOptions()))
    assert told.value.retry == "later"


def caused(error: StagingError, cause: BaseException) -> StagingError:
    try:
        raise error from cause
    except StagingError as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (StagingError("no entry point"), "never"),
        (StagingError("no runtime", retry="later"), "later"),
        (CommandFailed("uv failed"), "soon"),
        (CommandFailed("uv failed", retry="never"), "never"),
        (UnsuitablePython("no wheel"), "later"),
        (caused(StagingError("cannot stage shop"), CommandFailed("uv failed", retry="later")), "later"),
        (caused(CommandFailed("cannot stage shop"), UnsuitablePython("no wheel")), "later"),
        (caused(StagingError("a"), caused(StagingError("b"), OSError(errno.ENOSPC, "full"))), "soon"),
        (caused(StagingError("it took too long", retry="later"), TimeoutError()), "later"),
        (caused(StagingError("cannot run uv"), subprocess.TimeoutExpired("uv", 10)), "soon"),
        (caused(SourceError("cannot read it"), OSError(errno.EIO, "broken")), "soon"),
        (caused(SourceError("cannot read it"), FileNotFoundError(errno.ENOENT, "not there")), "never"),
        (caused(SourceError("cannot read it", retry="soon"), FileNotFoundError(errno.ENOENT, "not there")), "soon"),
        (caused(SourceError("cannot read it"), IsADirectoryError(errno.EISDIR, "a directory")), "never"),
        (caused(SourceError("it is not UTF-8"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")), "never"),
    ],
)
def test_an_error_is_tried_again_as_it_says_or_as_what_caused_it_can_pass(error: StagingError, retry: Retry) -> None:
    assert error.retry == retry


@pytest.mark.parametrize(
    ("files", "look", "retry"),
    [
        ({"x.py": "x = 1\n"}, lambda code: detect(code, None), "never"),
        ({"wsgi.py": "application = print\n"}, lambda code: detect(code, "wsgi:nothing"), "never"),
        (
            {"requirements.txt": "-r more.txt\n"},
            lambda code: dependencies(code, DependencyOptions()),
            "never",
        ),
        ({}, lambda code: dependencies(code, DependencyOptions(file="none.txt")), "never"),
        ({"requirements.txt": "./lib\n"}, lambda code: dependencies(code, DependencyOptions()), "never"),
        ({"requirements.txt": "/none/lib\n"}, lambda code: dependencies(code, DependencyOptions()), "later"),
        ({"requirements.txt": "-e /dev\n"}, lambda code: dependencies(code, DependencyOptions()), "later"),
        ({"requirements.txt": "#" * (16 << 20) + "#"}, lambda code: dependencies(code, DependencyOptions()), "never"),
        ({}, lambda code: choose_runtime((PYTHON,), "3.99", code, None), "later"),
        ({".python-version": "3.99\n"}, lambda code: choose_runtime((PYTHON,), None, code, None), "later"),
        ({}, lambda code: choose_runtime((PYTHON, OLD), "3.5", code, None), "never"),
        ({}, lambda code: choose_runtime((OLD,), "python3", code, None), "later"),
        ({}, lambda code: choose_runtime((OLD,), OLD.path, code, None), "later"),
        ({}, lambda code: choose_runtime((OLD,), None, code, None), "later"),
        ({"pyproject.toml": NEWER}, lambda code: choose_runtime((PYTHON,), "python3", code, None), "later"),
        ({"pyproject.toml": NEWER}, lambda code: choose_runtime((PYTHON,), PYTHON.path, code, None), "later"),
        ({"pyproject.toml": NEWER}, lambda code: choose_runtime((PYTHON,), "3.13", code, None), "never"),
        ({}, lambda code: choose_runtime((PYTHON,), "python2.6", code, None), "never"),
        ({"pyproject.toml": NEWER}, lambda code: choose_runtime((PYTHON,), None, code, None), "later"),
    ],
)
def test_what_the_code_and_its_manifest_say_is_no_different_the_next_time_but_a_host_gets_pythons(
    files: dict[str, str], look: Callable[[Path], object], retry: Retry, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(StagingError) as told:
        look(tmp_path)
    assert told.value.retry == retry
