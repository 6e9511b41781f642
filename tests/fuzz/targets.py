"""Targets that read what users write: each takes any bytes and an empty directory, and fails on a broken promise.

The promises: only the documented error is raised; it names its file, and the position in a manifest; what is unpacked
stays in its directory, and is not much larger than the archive.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.local_data import local_data
from reconciler.staging.detection.lockfiles.format import ExportByConversion, LockFormat
from reconciler.staging.detection.lockfiles.registry import LOCK_FORMATS
from reconciler.staging.detection.procfile import web_process
from reconciler.staging.detection.pyproject import project_table
from reconciler.staging.detection.python_version import requires_python
from reconciler.staging.detection.requirements import requirements
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import select
from reconciler.staging.errors import SourceError, StagingError
from reconciler.staging.source import archive
from reconciler.staging.source.ignore_rules import IgnoreRules
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret_reader import SecretReader
from tests.support.encryption import IDENTITY, Host, write_private

# An absolute path is taken as it is meant, and would have this host's own files read.
_ABSOLUTE = re.compile(r"(?:^|[^\w.]|-\w)[\\\n]*/")
_LARGEST, _TIMES = 64 << 20, 200
_PYTHON = "3.11.7"
_RUNTIME = Runtime(name="python3.11", description="Python 3.11.7", version=_PYTHON, path="/usr/bin/python3")
_MODULE = "def app(environ, start_response): ...\n"
# Files that staging looks into, beside those that have a target of their own.
_LOOKED_INTO = (
    *("wsgi.py", "settings.py", "gunicorn.conf.py", "Pipfile", "environment.yml", "uwsgi.ini", "setup.cfg"),
    *(".python-version", "runtime.txt", ".tool-versions", "package.json", "manifest.yml"),
)


def manifest(content: bytes, directory: Path) -> None:
    """Check that a manifest has documents or problems, each problem with a position and in one line of text."""
    parsed = parse("/m/blog.yaml", content, HostDefaults())
    assert bool(parsed.problems) != bool(parsed.apps or parsed.services), "neither problems nor apps, or both"
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", content.decode("utf-8-sig", "replace"))
    for problem in parsed.problems:
        assert problem.file == "/m/blog.yaml"
        assert problem.message, "a problem without words"
        assert 1 <= problem.line <= len(lines) + 1, f"line {problem.line} of {len(lines)}: {problem}"
        assert problem.column >= 1
        assert str(problem).isprintable(), f"not one line of text: {problem!r}"
    for document in parsed.apps:
        assert document.app(8001).name == document.name


def a_zip(content: bytes, directory: Path) -> None:
    _unpacked(content, directory, "app.zip")


def a_tar(content: bytes, directory: Path) -> None:
    _unpacked(content, directory, "app.tar")


def procfile(content: bytes, directory: Path) -> None:
    (directory / "Procfile").write_bytes(content)
    with _refused("Procfile"):
        web_process(directory)


def requirements_file(content: bytes, directory: Path) -> None:
    if _ABSOLUTE.search(content.decode(errors="replace")):
        return
    (directory / "requirements.txt").write_bytes(content)
    with _refused("requirements.txt"):
        requirements(directory, "requirements.txt")


def pyproject(content: bytes, directory: Path) -> None:
    """Read a project without a lock file, and with one."""
    _dependencies(content, directory, "pyproject.toml")
    with _refused("pyproject.toml"):
        requires_python(directory)
    (directory / "uv.lock").write_text("")
    with _refused("pyproject.toml"):
        dependencies(directory, DependencyOptions())


def ignore_file(content: bytes, directory: Path) -> None:
    """Read an ignore file, and match paths that its patterns find hard."""
    text = content.decode(errors="replace")
    with _refused(".reconcilerignore"):
        rules = IgnoreRules(".reconcilerignore", text)
        for path in ("a", "a/b/", "/".join("ab" * 100), "a" * 250, "*" * 250, text[:250]):
            rules.excludes(path)


def env_file(content: bytes, directory: Path) -> None:
    (directory / ".env").write_bytes(content)
    with contextlib.suppress(Unusable):
        SecretReader().variables_of(directory / ".env")


def encrypted(content: bytes, directory: Path) -> None:
    """Open a file that a stranger encrypted, or seems to have, to an identity of this host."""
    identity = directory / "age.txt"
    write_private(identity, IDENTITY.read_text())
    for name in ("f", "f.json"):
        file = directory / name
        file.write_bytes(content)
        for read in (reader := Host(identities=(identity,)).reader).text_of, reader.variables_of, reader.fields_of:
            with contextlib.suppress(Unusable):
                read(file)


def looked_into(name: str) -> "Target":
    """Return the target that selects what to stage from a source with this file in it."""

    def target(content: bytes, directory: Path) -> None:
        (directory / name).write_bytes(content)
        if name == "settings.py":
            (directory / "manage.py").write_text("import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'")
        elif name != "wsgi.py":
            (directory / "wsgi.py").write_text(_MODULE)
        with contextlib.suppress(StagingError):
            select(directory, Recipe(), (_RUNTIME,))
        local_data(directory)

    return target


def lock_file(lock: LockFormat) -> "Target":
    """Return the target that reads a lock file of this format."""

    def target(content: bytes, directory: Path) -> None:
        _dependencies(content, directory, lock.file)
        with _refused(lock.file):
            read = lock.read(directory / lock.file)
            lock.pythons(read)
            assert all(isinstance(path, str) for path in lock.paths(read))
            if isinstance(lock.export, ExportByConversion):
                project = {"dependencies": ["bottle>=0.12", "x ; python_version > '3'"]}
                lock.export.mismatch(read, project, _PYTHON)
                lock.export.requirements(read, ("a",), ("b",))

    return target


Target = Callable[[bytes, Path], None]

TARGETS: Mapping[str, Target] = {
    "manifest": manifest,
    "zip": a_zip,
    "tar": a_tar,
    "procfile": procfile,
    "requirements": requirements_file,
    "pyproject": pyproject,
    "ignore": ignore_file,
    "env": env_file,
    "encrypted": encrypted,
    **{name: lock_file(lock) for name, lock in LOCK_FORMATS.items()},
    **{name: looked_into(name) for name in _LOOKED_INTO},
}


class _refused:  # noqa: N801 -- it reads as what it is: a context
    """Lets through the documented error, if it names the file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, StagingError):
            return False
        assert self._name in str(error), f"it does not name {self._name}: {error}"
        return True


def _dependencies(content: bytes, directory: Path, name: str) -> None:
    if _ABSOLUTE.search(content.decode(errors="replace")):
        return
    (directory / name).write_bytes(content)
    with _refused(name):
        dependencies(directory, DependencyOptions())
    with _refused("pyproject.toml"):
        project_table(directory)


def _unpacked(content: bytes, directory: Path, name: str) -> None:
    packed, into = directory / name, directory / "inner" / "out"
    packed.write_bytes(content)
    try:
        archive.check(packed)
        harmless = True
    except SourceError:
        harmless = False
    with contextlib.suppress(SourceError):
        archive.unpack(packed, into)
        assert harmless, "checking refuses what unpacking takes"
        for place in _places(into):
            assert Path(os.path.realpath(place)).is_relative_to(os.path.realpath(into)), f"{place} leads out"
    assert {path.name for path in directory.iterdir()} <= {name, "inner"}, "written outside"
    assert {path.name for path in (directory / "inner").iterdir()} <= {"out"}, "written outside"
    size = 0
    for place in _places(into):
        size += place.lstat().st_size
    most = max(_LARGEST, _TIMES * len(content)) + (1 << 20)
    assert size <= most, f"{size} bytes of {len(content)}"


def _places(top: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        yield from (Path(folder) / name for name in (*folders, *files))
