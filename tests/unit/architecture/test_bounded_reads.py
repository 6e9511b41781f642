"""What an app can replace is opened without waiting and read within bounds: by what `linux/regular_files.py` offers.

An app of the daemon's own user can put a pipe, a device or a terabyte in the place of any file below the state
directory. One read of that on the loop would freeze every app, or have the kernel end the daemon.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.site import REPOSITORY

PACKAGE = REPOSITORY / "reconciler"
_FOLDERS = ("serving", "staging", "host", "state", "inspection", "services", "daemon", "linux", "vault", "control")
# What may be opened as it is, with why no app can make the daemon wait there.
_BY_APPS = "it runs in the app's own process"
_OPERATORS = "it reads a file that the operator's settings name"
_FRESH = "it is a path of a random name that was made just now"
_KERNELS = "it reads a file of the kernel, which no process has a say in"
_DIRECTORIES = "it opens directories only, and no link to one"
_EXEMPT = {
    "serving/launcher.py": _BY_APPS,
    "serving/gate.py": _BY_APPS,
    "serving/gate_figures.py": _BY_APPS,
    "serving/gate_import.py": _BY_APPS,
    "serving/gate_master.py": _BY_APPS,
    "serving/gate_memory.py": _BY_APPS,
    "serving/image_start.py": _BY_APPS,
    "serving/image_ready.py": _BY_APPS,
    "serving/image_stop.py": _BY_APPS,
    "serving/forkserver/main.py": _BY_APPS,
    "serving/forkserver/holes.py": _KERNELS,
    "staging/environments/identity.py": _OPERATORS,
    "inspection/checks/network.py": _OPERATORS,
    "services/server_tools.py": "it reads a backup in a thread, which the operator's settings name the directory of",
    "inspection/checks/kernel.py": _KERNELS,
    "isolation/confine.py": "it writes to files of the kernel, before it becomes the program of an app",
    "isolation/main.py": "it opens a log to append to, and no link",
    "isolation/view.py": "it opens paths of a file system that it has just made",
    "linux/host_files.py": _KERNELS,
    "linux/kernel_counts.py": "it opens files of the kernel about this process and a child that runs nothing else",
    "serving/gate_log.py": "it takes a descriptor that it was given",
    "linux/control_groups.py": "it writes to a file of the kernel, which no process has a say in",
    "linux/mounts.py": _KERNELS,
    "linux/tree_exec.py": _KERNELS,
    "linux/held_files_main.py": "it is a process that is killed where it waits",
    "linux/proc_files.py": "it reads no more than it is asked for",
    "linux/files.py": _FRESH,
    "linux/listing.py": _DIRECTORIES,
    "linux/shared_files.py": "it never waits, follows no link, and reads no more than what it expects",
    "linux/remove_tree.py": _DIRECTORIES,
    "staging/source/archive.py": "it unpacks into a directory of its own, and follows nothing there",
    "staging/source/snapshot.py": "it reads an app's source and writes its copy, in a thread",
}
_HELD = re.compile(r"(/|/ ')(environ|cmdline|auxv|maps|mem|pagemap|numa_maps|smaps|smaps_rollup)'$")
_HELD_EXEMPT = {"isolation/tries.py": _BY_APPS}
_SAFE_FLAGS = ("O_NONBLOCK", "O_EXCL", "O_DIRECTORY", "O_PATH", "_UNFOLLOWED", "devnull")


def unbounded(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each call that opens a file as it is."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _opens(node):
            yield node.lineno, ast.unparse(node)


def _opens(call: ast.Call) -> bool:
    shown = ast.unparse(call)
    match call.func:
        case ast.Name(id="open"):
            return not _is_descriptor(call.args[0])
        case ast.Attribute(value=of, attr="open"):
            whose = ast.unparse(of)
            if whose == "os":
                return not any(flag in shown for flag in _SAFE_FLAGS)
            # A socket's or a listener's takes no mode; an archive's members are no files.
            return whose == "io" or (bool(call.args) and isinstance(call.args[0], ast.Constant))
        case ast.Attribute(attr="read_bytes" | "read_text"):
            return "package_directory" not in shown
        case _:
            return False


def held(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each file of /proc whose readers a process can keep waiting, read as it is."""
    tree = ast.parse(text)
    asked = {each for call in ast.walk(tree) if _has_bounds(call) for each in ast.walk(call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.BinOp) and node not in asked and _HELD.search(ast.unparse(node)):
            yield node.lineno, ast.unparse(node)


def _has_bounds(node: ast.AST) -> bool:
    """Whether this is a call of what reads with a bound of time, or a table of paths for it."""
    return isinstance(node, ast.DictComp) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "contents")


def _is_descriptor(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Name) and argument.id in {"descriptor", "opened"}


def test_no_file_that_an_app_can_replace_is_read_as_it_is() -> None:
    found = {}
    for folder in _FOLDERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            name = path.relative_to(PACKAGE).as_posix()
            if name not in _EXEMPT and (calls := list(unbounded(path.read_text()))):
                found[name] = calls
    assert found == {}


def test_no_file_of_proc_whose_readers_a_process_can_keep_waiting_is_read_as_it_is() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): calls
        for path in sorted(PACKAGE.rglob("*.py"))
        if (calls := list(held(path.read_text())))
    }
    assert found.keys() == _HELD_EXEMPT.keys()


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ('proc_bytes(f"/proc/{pid}/environ")', True),
        ('(process / "cmdline").read_bytes()', True),
        ('path = f"/proc/{pid}/smaps_rollup"', True),
        ('contents([f"/proc/{pid}/environ"], kept)', False),
        ('read_proc(f"/proc/{pid}/stat")', False),
    ],
)
def test_a_read_that_a_process_can_hold_up_is_found(text: str, *, is_found: bool) -> None:
    assert bool(list(held(text))) == is_found


def test_every_exemption_is_needed() -> None:
    assert [name for name in _EXEMPT if not list(unbounded((PACKAGE / name).read_text()))] == []


@pytest.mark.parametrize(
    "text",
    [
        "path.read_text()",
        "(directory / 'build.json').read_bytes()",
        "open(path, 'rb')",
        "path.open('ab', buffering=0)",
        "io.open(path)",
        "os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)",
    ],
)
def test_a_read_without_bounds_is_found(text: str) -> None:
    assert [line for line, _ in unbounded(text)] == [1]


@pytest.mark.parametrize("text", ["os.open(path, os.O_RDONLY | os.O_NONBLOCK)", "read_own(path, 10)", "api.open()"])
def test_a_bounded_read_is_no_offence(text: str) -> None:
    assert list(unbounded(text)) == []
