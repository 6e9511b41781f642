"""Make the environments that fork servers of isolated apps begin in: a Python, and a gunicorn known byte by byte.

Nothing of any app is in one, nothing that runs whenever Python starts, and no file that a process of an app can write.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.isolation.roots_files import is_roots
from reconciler.linux.regular_files import read_file
from reconciler.linux.remove_tree import remove_tree
from reconciler.linux.user_namespaces import root_here
from reconciler.serving.forkserver.eligibility import MOST_OF_A_FILE, ForkKind, NotForkable, digest_of
from reconciler.state.ownership import is_open_to_others

_NOT_KNOWN = ", or it came after this daemon had started, which knows root's files by what it noted then"
_NAMED = 16  # digits of a digest, as the name of a directory


def made_environment(directory: Path, kind: ForkKind, python: str) -> str:
    """Make the environment of a kind of fork server again, from that of `python`; return its own Python.

    Raises NotForkable if what lies there by now is not that kind's gunicorn, OSError if it cannot be made.
    """
    interpreter = os.path.realpath(python)
    if any(map(_is_open_to_others, (Path(interpreter), *Path(interpreter).parents))):
        raise NotForkable(f"others may change {interpreter}{_NOT_KNOWN if root_here() else ''}")
    (packages,) = Path(python).parent.parent.glob("lib/python*/site-packages")
    read = dict(_modules(packages / "gunicorn"))
    if digest_of(read) != kind.gunicorn:
        raise NotForkable("its gunicorn was changed meanwhile")
    own = directory / f"{packages.parent.name}-{kind.gunicorn[:_NAMED]}"
    remove_tree(own)
    for name, content in read.items():
        file = own / "lib" / packages.parent.name / "site-packages/gunicorn" / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(content)
    (own / "bin").mkdir(mode=0o700)
    (own / "bin/python").symlink_to(interpreter)
    (own / "pyvenv.cfg").write_text(f"home = {Path(interpreter).parent}\ninclude-system-site-packages = false\n")
    return str(own / "bin/python")


def _is_open_to_others(path: Path) -> bool:
    """Whether another user than root and this one may change a file, or rename what is in a directory."""
    found = path.stat()
    return is_open_to_others(found, (found.st_uid if is_roots(path, found) else 0, os.geteuid()))


def _modules(package: Path) -> Iterator[tuple[str, bytes]]:
    """Return the modules of a package, by their names below it. Raises OSError."""
    for directory, names, files in os.walk(package, onerror=_raise):
        names[:] = [name for name in names if name != "__pycache__"]
        for name in files:
            if name.endswith((".py", ".so")):
                path = Path(directory, name)
                yield str(path.relative_to(package)), read_file(path, MOST_OF_A_FILE)


def _raise(error: OSError) -> None:
    raise error
