# Run by an environment's own interpreter, CPython 3.8 or newer: a process that has imported gunicorn and nothing of any
# app, and forks instances that run the launcher. Single-threaded; ends when the daemon closes descriptor 3.
# It gives instances to every environment that has the very same gunicorn, and is moved there after the fork.
# One for isolated apps begins in an environment with nothing but that gunicorn, and its processes confine themselves.
# It is moved to the environment of its first app, as most of its apps are likely to have that.
# usage: main.py LAUNCHER WORKER_MODULE [PARENT OF OUR PACKAGE, PYTHON OF AN APP]    (descriptor 3: a SOCK_SEQPACKET to
# the daemon)
import sys

sys.path.pop(0)  # this file's directory is none of the app's business

import resource  # noqa: F401  the launcher does first of all

import gunicorn.app.wsgiapp  # type: ignore[import-untyped]

_parser = sys.modules["gunicorn.config"].Config().parser()  # what every start makes first, and all alike
_EXECED = set(sys.modules)  # what an instance has imported before its app's directory comes first on sys.path

import _imp  # noqa: E402
import ast  # noqa: E402
import contextlib  # noqa: E402
import ctypes  # noqa: E402
import fcntl  # noqa: E402
import functools  # noqa: E402
import gc  # noqa: E402
import importlib  # noqa: E402
import importlib.util  # noqa: E402
import os  # noqa: E402
import posix  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import site  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402
import types  # noqa: E402
import zlib  # noqa: E402
from importlib.machinery import SourceFileLoader  # noqa: E402

TYPE_CHECKING = False  # as that of `typing`
if TYPE_CHECKING:
    from reconciler.isolation.in_place import InPlace

_PR_SET_PDEATHSIG = 1
_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_PIDFD_OPEN, _CLONE3 = 434, 435
_CLONE_INTO_CGROUP = 0x200000000
_FDS = (4, 5, 6)  # to the daemon about this one launch, the order, the output, listeners, and where to report
_ROOM = socket.CMSG_SPACE((_FDS[-1] + 1) * 4)  # and a control group
_BEYOND = 10


class _Map(ctypes.Structure):
    """struct prctl_mm_map of <linux/prctl.h>: where the kernel finds a process's own description."""

    _fields_ = [
        *[
            (name, ctypes.c_uint64)
            for name in (
                *("start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack"),
                *("arg_start", "arg_end", "env_start", "env_end", "auxv"),
            )
        ],
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    ]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = _libc.sbrk.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.sbrk.argtypes = [ctypes.c_ssize_t]
_libc.syscall.argtypes = [ctypes.c_long] * 3
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_locked = ctypes.PyDLL(None)  # whose calls keep the interpreter's lock: a new process has it, too
_locked.syscall.argtypes = [ctypes.c_long] * 3


def _addresses() -> "dict[str, int]":
    """Read where this process's parts are, from proc(5)'s stat; the same in every fork."""
    with open("/proc/self/stat", "rb") as file:
        stat = file.read().rpartition(b")")[2].split()
    named = {"start_code": 26, "end_code": 27, "start_stack": 28, "start_data": 45, "end_data": 46, "start_brk": 47}
    named.update({"arg_start": 48, "arg_end": 49, "env_start": 50, "env_end": 51})
    return {name: int(stat[number - 3]) for name, number in named.items()}


def _describe(addresses: "dict[str, int]") -> None:
    """Tell the kernel where this process's arguments and environment are now; raises OSError."""
    described = _Map(brk=_libc.sbrk(0), auxv=0, auxv_size=0, exe_fd=0xFFFFFFFF, **addresses)
    if _libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.addressof(described), ctypes.sizeof(described), 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _show(arguments: "list[bytes]", environment: "list[bytes]", addresses: "dict[str, int]") -> None:
    """Have /proc/self/cmdline and /proc/self/environ say what they would after an exec with these."""
    head, tail = (b"".join(each + b"\0" for each in block) for block in (arguments, environment))
    private_anonymous, read_write = 0x22, 0x3
    start = _libc.mmap(None, len(head) + len(tail), read_write, private_anonymous, -1, 0)
    if start in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    ctypes.memmove(start, head + tail, len(head) + len(tail))
    middle = start + len(head)
    block = {"arg_start": start, "arg_end": middle, "env_start": middle, "env_end": middle + len(tail)}
    _describe(dict(addresses, **block))


def _take_on(environment: "list[bytes]") -> None:
    """Have these variables, which are the app's: what they have the C library read, it reads as the app's user."""
    os.environ.clear()
    posix.environ.clear()
    for name, value in [each.split(b"=", 1) for each in environment]:
        posix.environ[name] = value
        os.environb[name] = value
    time.tzset()
    site.USER_BASE = site.USER_SITE = None
    site.getusersitepackages()


def _unfit(addresses: "dict[str, int]") -> str:
    """Return why no instance may be forked from this process, "" if one may."""
    if len(os.listdir("/proc/self/task")) != 1:
        return "its packages start threads whenever Python starts"
    try:
        _describe(addresses)
    except OSError as error:
        return "the kernel lets no process move its arguments: %s" % error
    return ""


class _Environment:
    """The environment this process began in, and how to move it to another that holds the same gunicorn."""

    def __init__(self) -> None:
        self.prefix = sys.prefix
        self.packages = self._on_path = os.path.dirname(os.path.dirname(os.path.abspath(gunicorn.__file__)))
        files = [(module, str(getattr(module, "__file__", ""))) for module in list(sys.modules.values())]
        self.modules = [module for module, file in files if self._is_in(file)]
        own = [file for _, file in files if self._is_in(file)]
        self.files = {file[len(self.prefix) :]: (self._which(file), self._content(file)) for file in own}
        self.functions = [
            each
            for each in gc.get_objects()
            if isinstance(each, types.FunctionType) and self._is_in(each.__code__.co_filename)
        ]

    def _is_in(self, path: str) -> bool:
        return path.startswith(self.prefix + os.sep)

    @staticmethod
    def _which(file: str) -> "tuple[int, ...]":
        facts = os.stat(file)
        return facts.st_dev, facts.st_ino, facts.st_mtime_ns

    @staticmethod
    def _content(file: str) -> int:
        with open(file, "rb") as opened:
            return zlib.crc32(opened.read())

    def differs(self, prefix: str) -> str:
        """Return which imported file the environment below `prefix` lacks, "" if it has all."""
        for file, (which, content) in self.files.items():
            other = prefix + file
            try:
                same = self._which(other) == which or self._content(other) == content
            except OSError:
                same = False
            if not same:
                return os.path.relpath(self.prefix + file, self.packages)
        return ""

    def settle(self, executable: str) -> None:
        """Move to the environment of that interpreter, and know its files from now on; stay if it lacks one."""
        prefix = os.path.dirname(os.path.dirname(executable))
        try:
            before = {file: self._which(prefix + file) for file in self.files}
            if self.differs(prefix) or before != {file: self._which(prefix + file) for file in self.files}:
                return
        except OSError:
            return
        self.files = {file: (before[file], content) for file, (_, content) in self.files.items()}
        self.move(executable, prefix)

    def add_packages(self) -> None:
        """Have the packages of the environment on the path, and run what they run at every start."""
        del sys.path[sys.path.index(self._on_path) :]
        site.addsitedir(self.packages)

    def move(self, executable: str, prefix: str) -> None:
        """Become as if started as `executable`, below `prefix`, but for its packages."""
        moved = functools.partial(self._moved, prefix)
        for module in self.modules:
            self._move_module(module, moved)
        for function in self.functions:
            old = function.__code__.co_filename
            _imp._fix_co_filename(function.__code__, moved(old))  # type: ignore[attr-defined]  # noqa: SLF001
        for path in [path for path in sys.path_importer_cache if self._is_in(path)]:
            del sys.path_importer_cache[path]
        sys.executable = executable
        sys.prefix = sys.exec_prefix = prefix
        if hasattr(sys, "_base_executable"):
            sys._base_executable = moved(sys._base_executable)  # noqa: SLF001
        site.PREFIXES[:] = [prefix if each == self.prefix else each for each in site.PREFIXES]
        self.prefix, self.packages = prefix, moved(self.packages)

    def _moved(self, prefix: str, path: str) -> str:
        return prefix + path[len(self.prefix) :] if self._is_in(path) else path

    @staticmethod
    def _move_module(module: types.ModuleType, moved: "functools.partial[str]") -> None:
        spec = module.__spec__
        for name in ("__file__", "__cached__"):
            if isinstance(getattr(module, name, None), str):
                setattr(module, name, moved(getattr(module, name)))
        if "__path__" in module.__dict__:
            module.__path__[:] = [moved(each) for each in module.__path__]
        if spec is not None:
            spec.origin = spec.origin and moved(spec.origin)
            spec.cached = spec.cached and moved(spec.cached)
            if spec.submodule_search_locations is not None:
                spec.submodule_search_locations[:] = [moved(each) for each in spec.submodule_search_locations]
            if isinstance(spec.loader, SourceFileLoader):
                spec.loader.path = moved(spec.loader.path)


def _computed_defaults() -> "list[tuple[type, types.CodeType]]":
    """Find the settings whose defaults gunicorn computes at import, from the directory and the environment."""
    config = sys.modules["gunicorn.config"]
    path = str(config.__file__)
    with open(path, encoding="utf-8") as file:
        classes = [each for each in re.split(r"(?m)^(?=class )", file.read()) if re.search(r"\sdefault = .*\(", each)]
    computed = []
    for each in (node for text in classes for node in ast.parse(text).body):
        if isinstance(each, ast.ClassDef):
            own = {part.name for part in each.body if isinstance(part, ast.FunctionDef)}
            computed += [
                (getattr(config, each.name), compile(ast.Module([part], []), path, "exec"))
                for part in each.body
                if isinstance(part, (ast.Assign, ast.If)) and _computes_default(part, own)
            ]
    return computed


def _computes_default(statement: ast.stmt, own: "set[str]") -> bool:
    """Whether a statement sets `default` by a call other than of the class's own functions."""
    inside = list(ast.walk(statement))
    names = {node.id for node in inside if isinstance(node, ast.Name)}
    return "default" in names and not names & own and any(isinstance(node, ast.Call) for node in inside)


def _compute(defaults: "list[tuple[type, types.CodeType]]") -> None:
    """Recompute those defaults, as if gunicorn were imported just now."""
    for setting, code in defaults:
        namespace: "dict[str, object]" = {}
        exec(code, sys.modules["gunicorn.config"].__dict__, namespace)  # noqa: S102
        setattr(setting, "default", namespace["default"])  # noqa: B010  the type checker knows no gunicorn


def _order(descriptor: int) -> "tuple[list[bytes], list[str], list[bytes]]":
    """Read the arguments, those of a confinement, and the environment: two counts, then NUL-terminated strings."""
    with open(descriptor, "rb") as file:
        counts, _, block = file.read().partition(b"\n")
    first, second = map(int, counts.split())
    strings = block.split(b"\0")[:-1]
    return strings[:first], list(map(os.fsdecode, strings[first : first + second])), strings[first + second :]


def _fork(group: int) -> "bool | None":
    """Fork a process that is not this one's child; return None here, and there whether it began in the control group.

    That costs the kernel nothing; to move a process that runs takes it a grace period of RCU, some milliseconds.
    """
    middle = -1
    if group >= 0:
        arguments = (ctypes.c_uint64 * 11)(_CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, group)
        middle = _locked.syscall(_CLONE3, ctypes.addressof(arguments), ctypes.sizeof(arguments))
    inside = middle >= 0
    if not inside:  # before Linux 5.7, in containers that know of no clone3, or where the group takes no process
        middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return None
    middle = os.getpid()
    if os.fork():  # all that the one in the middle does: the C library knows nothing of how that one began
        os._exit(0)
    while os.getppid() == middle:  # until then the daemon could not learn how this process ends
        time.sleep(0.0002)
    return inside


def _born(
    received: "list[int]",
    addresses: "dict[str, int]",
    begun: _Environment,
    cells: "InPlace | None",
    word: bytes,
) -> "list[str]":
    """Become what was requested, in the new process; say so, wait for permission, and return the arguments."""
    if len(received) > _FDS[0]:  # or one listener might take the place of another
        given, received = received, [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _BEYOND) for each in received]
        for each in given:
            os.close(each)
    line, order, output, *listeners = received
    report = -1 if cells is None else listeners.pop()
    os.setsid()
    shown, confinement, environment = _order(order)
    arguments = list(map(os.fsdecode, shown))
    prefix = os.path.dirname(os.path.dirname(arguments[0]))
    different = begun.differs(prefix)
    if different:
        os.write(line, ("its %s differs from its fork server's" % different).encode())
        os._exit(0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for at, listener in enumerate(listeners, start=3):
        os.dup2(listener, at)
    for extra in (*listeners, output):
        os.close(extra)
    if cells is not None:
        environment += cells.open_log(confinement, 4 + len(listeners))
    _show(shown, environment, addresses)
    _await_permission(line, word)
    if cells is not None:
        cells.confine_here(report, 3 + len(listeners), is_inside=word == b"inside")
    _take_on(environment)
    moves = prefix != begun.prefix
    if moves:
        begun.move(arguments[0], prefix)
    if moves or cells is not None:
        begun.add_packages()
    return arguments


def _await_permission(line: int, word: bytes) -> None:
    """Tell the daemon of this process and where it began, and end it unless the daemon lets it go on."""
    pidfd = _libc.syscall(_PIDFD_OPEN, os.getpid(), 0)
    if pidfd < 0:
        os._exit(1)
    with socket.socket(fileno=line) as daemon:
        sent = (socket.SOL_SOCKET, socket.SCM_RIGHTS, pidfd.to_bytes(4, sys.byteorder))
        daemon.sendmsg([b"%d %s" % (os.getpid(), word)], [sent])
        os.close(pidfd)
        if not daemon.recv(1):
            os._exit(0)  # the daemon is gone, or has started the app another way


def _serve(
    daemon: socket.socket, addresses: "dict[str, int]", begun: _Environment, cells: "InPlace | None"
) -> "list[str] | None":
    """Fork at every message; return the arguments in a new process, None once the daemon is gone."""
    while True:
        message, ancillary, _, _ = daemon.recvmsg(1, _ROOM, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return None
        received = [
            int.from_bytes(data[at : at + 4], sys.byteorder)
            for _, _, data in ancillary
            for at in range(0, len(data) - 3, 4)
        ]
        group = received.pop() if message.isupper() and received else -1
        fits = message.lower() == (b"f" if cells is None else b"c") and len(received) in _FDS
        if cells is not None:
            cells.renew()
        inside = _fork(group) if fits else None
        if group >= 0:
            os.close(group)
        if inside is not None:
            try:
                daemon.close()
                return _born(received, addresses, begun, cells, b"inside" if inside else b"outside")
            except BaseException:  # noqa: BLE001  whatever it is, it must not get into the loop of the fork server
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        for descriptor in received:
            os.close(descriptor)


def _cells(packages: str) -> "InPlace":
    """Load what confines a new process, from where our own modules are; no app finds them by their names."""
    sys.path.append(packages)
    cells: "InPlace" = importlib.import_module("reconciler.isolation.in_place").InPlace()
    cells.hide(packages)
    return cells


def _main_of(launcher: str) -> types.ModuleType:
    """Make the module in which an interpreter runs that file."""
    main = types.ModuleType("__main__")
    own = sys.modules["__main__"].__dict__
    for name in ("__builtins__", "__doc__", "__package__", "__spec__", "__cached__", "__annotations__"):
        if name in own:
            setattr(main, name, None if name == "__doc__" else own[name])
    main.__file__ = launcher
    main.__loader__ = SourceFileLoader("__main__", launcher)
    return main


def _preloaded(launcher: str) -> "dict[str, types.ModuleType]":
    """Load what every instance's config does, beside the launcher, and name it to none: an app may have its like."""
    path = os.path.join(os.path.dirname(launcher), "gate.py")
    return {path: _loaded("reconciler_gate", path)} if os.path.exists(path) else {}


def _loaded(name: str, path: str) -> types.ModuleType:
    """Load a file as a module that no import finds."""
    module = types.ModuleType(name)
    module.__file__ = path
    SourceFileLoader(name, path).exec_module(module)
    return module


def _settle_memory() -> None:
    """Arrange what this process has so that what it forks writes in few of its pages."""
    global _code  # noqa: PLW0603  of the launcher, which runs once
    holes, together, immortal, run = map(_beside, ("holes", "code_together", "immortal", "run_code"))
    gc.collect()
    holes.fill_holes()
    _code = together.put_together({"gunicorn", "reconciler", "reconciler_gate", __name__}, run.RUN, _code)
    immortal.number_types()
    immortal.make_immortal()
    gc.freeze()
    gc.collect()  # what Python keeps of freed objects, to give it out again, goes back to its allocator
    holes.fill_holes()


def _beside(name: str) -> types.ModuleType:
    """Load a module that lies beside this file."""
    return _loaded("reconciler_" + name, os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py"))


def _wait(worker: str, packages: "list[str]") -> "list[str] | None":
    """Get ready, say so, and serve; return the arguments in a new process."""
    gc.disable()
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # for a fork server that is stopped and cannot see the end
    for name in ("gunicorn.glogging", worker):
        importlib.import_module(name)
    with contextlib.suppress(ImportError):  # each worker seeds its random numbers by a text, which takes it since 3.12
        importlib.import_module("_sha2")
    defaults = _computed_defaults()
    cells = _cells(packages[0]) if packages else None
    addresses = _addresses()
    daemon = socket.socket(fileno=3)
    unfit = _unfit(addresses)
    early = sorted({name.partition(".")[0] for name in set(sys.modules) - _EXECED} - {"gunicorn"})
    try:
        daemon.sendall(("unfit " + unfit if unfit else "ready " + " ".join(early)).encode())
    except OSError:
        return None  # the daemon is gone, or needs none
    if unfit:
        return None
    gc.collect()
    begun = _Environment()
    if packages:
        begun.settle(packages[1])
    _settle_memory()
    arguments = _serve(daemon, addresses, begun, cells)
    if arguments is not None:
        os.chdir(arguments[2])
        _compute(defaults)
    return arguments


_launcher = sys.argv[1]
with open(_launcher, encoding="utf-8") as _file:
    _code = compile(_file.read(), _launcher, "exec")
_modules = _preloaded(_launcher)
_arguments = _wait(sys.argv[2], sys.argv[3:])
if _arguments is not None:
    gc.enable()
    sys.argv = _arguments[1:]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = list(_arguments)
    sys.path.insert(0, os.path.dirname(_launcher))
    sys.modules["__main__"] = _main_of(_launcher)
    sys.modules["__main__"].__dict__.update(_preloaded=_modules, _parser=_parser)
    exec(_code, sys.modules["__main__"].__dict__)  # noqa: S102
