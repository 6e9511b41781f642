# Run by an app's own interpreter, which may be Python 2.7: applies the sandbox, then becomes gunicorn in this process.
# usage: launcher.py DIRECTORY -c CONFIG TARGET     (the listener is descriptor 3; of two, the other is 4)
#        launcher.py DIRECTORY -- COMMAND...        (becomes any other program, without a listener)
import errno
import io
import os
import resource
import sys


def take_on(environ):
    """Apply the sandbox that the environment names, and return the cell that it names; take both out of it."""
    cell = environ.pop("RECONCILER_CELL", "")
    _opened["access"] = environ.pop("RECONCILER_ACCESS_LOG", "")
    if "RECONCILER_SANDBOX" in environ:
        rights = [int(number) for number in environ.pop("RECONCILER_SANDBOX").split()]
        if rights[4:]:
            enter(cell)  # which another user may not
        apply_sandbox(rights)
    return cell


_opened = {"access": ""}  # the descriptor of the access log of an instance that sees no log


def enter(entrances):
    """Become a member of control groups, by the files that take members, one to a line; of those that let it in.

    The daemon may have put this process there already.
    """
    if not entrances:
        return
    with open("/proc/self/cgroup") as file:
        inside = file.read().splitlines()
    for entrance in entrances.splitlines():
        group = "/" + "/".join(entrance.split("/")[-4:-1])
        if entrance.endswith("/cgroup.procs") and any(line.endswith(group) for line in inside):
            continue
        try:
            descriptor = os.open(entrance, os.O_WRONLY)
            try:
                os.write(descriptor, b"0")
            finally:
                os.close(descriptor)
        except (IOError, OSError):
            pass


def apply_sandbox(encoded):
    """Take on umask, the limits of descriptors and of memory, and user and group if they are given."""
    umask, soft, hard, data = encoded[:4]
    os.umask(umask)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if data >= 0:
        resource.setrlimit(resource.RLIMIT_DATA, (data, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    if encoded[4:]:
        uid, gid = encoded[4:]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


class _Log(io.FileIO):
    """Standard output or error in a file: a disk that takes no more costs what is printed, not the request."""

    def write(self, what):
        try:
            return io.FileIO.write(self, what)
        except (IOError, OSError) as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
                raise
            return len(what)


def _printing(stream):
    text = {"encoding": stream.encoding, "errors": stream.errors, "newline": "\n", "write_through": True}
    return io.TextIOWrapper(_Log(stream.fileno(), "wb", closefd=False), **text)


def _writable(log):
    """Return None for a log that cannot be written: no app fails to start because of it."""
    try:
        open(log, "a").close()
    except (IOError, OSError, TypeError):
        return None
    return log


def _access(log):
    """Return where the access log is written: "-" where the gate has it written to a descriptor."""
    return "-" if log and _opened["access"] else _writable(log)


def _text(raw):
    """Return a path or a word as this Python has it."""
    return raw if bytes is str else os.fsdecode(raw)


def _module(path):
    """Load the gate from its file; from its bytecode, except on Python 2, which would leave that beside the source."""
    try:
        from importlib.util import module_from_spec, spec_from_file_location
    except ImportError:
        module = _of_python_2[path] = type(sys)("reconciler_gate")
        module.__file__ = path
        with open(path) as program:
            exec(compile(program.read(), path, "exec"), module.__dict__)  # noqa: S102
        return module
    spec = spec_from_file_location("reconciler_gate", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_of_python_2 = {}  # which empties a module without a reference to it


def read_config(filename, preloaded, cell):
    """Read the config in gunicorn's place, which warns of its name and may read a stale copy of its bytecode.

    What every config does is here, compiled once for all. `preloaded` are modules that need not be loaded, by path.
    Afterwards, code of the app may run at any time: from here on this process is in its cell.
    """
    settings = {
        "__name__": "__config__",
        "__file__": filename,
        "_os": os,
        "_text": _text,
        "_writable": _writable,
        "_access": _access,
        "_access_log": _opened["access"],
        "_module": lambda path: preloaded.get(path) or _module(path),
    }
    with io.open(filename, "rb") as file:
        exec(compile(file.read(), filename, "exec"), settings)  # noqa: S102  a Python file, which we wrote
    if "LISTEN_PID" in os.environ and isinstance(settings.get("bind"), list):
        os.environ["LISTEN_FDS"] = str(len(settings["bind"]))
    enter(cell)
    return settings


def _pass_for(script):
    """Have this process's main module be gunicorn's own script, which multiprocessing's children run again."""
    main = sys.modules["__main__"]
    if os.path.exists(script):
        main.__file__ = script
    else:
        del main.__file__  # they leave out a module without a file


def _parse_by(parser, config):
    """Have gunicorn parse its arguments by a parser that a fork server made: the options are the same for all."""

    def made(of):
        parser.usage, parser.prog = of.usage, of.prog
        return parser

    config.parser = made


def _become_gunicorn(preloaded, cell, parser):
    os.environ["LISTEN_FDS"] = "1"
    os.environ["LISTEN_PID"] = str(os.getpid())
    _pass_for(os.path.join(os.path.dirname(sys.executable), "gunicorn"))
    sys.argv = ["gunicorn"] + sys.argv[2:]
    if sys.version_info[0] > 2:
        sys.stdout, sys.stderr = _printing(sys.stdout), _printing(sys.stderr)
    from gunicorn import sock  # type: ignore[import-untyped]
    from gunicorn.app.base import Application  # type: ignore[import-untyped]
    from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]
    from gunicorn.config import Config  # type: ignore[import-untyped]

    if parser is not None:
        _parse_by(parser, Config)
    if not hasattr(
        sock, "close_sockets"
    ):  # before 19.7 each one that ends removes the file of a socket that others have
        sock.UnixSocket.close = sock.BaseSocket.close
    Application.get_config_from_filename = lambda _, filename: read_config(filename, preloaded, cell)
    run()


if __name__ == "__main__":
    sys.path.pop(0)  # no directory of the app
    _cell = take_on(os.environ)
    os.chdir(sys.argv[1])
    if sys.argv[2] == "--":
        enter(_cell)
        try:
            os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  becoming the program is all there is to do
        except OSError as error:
            sys.exit("cannot run %s: %s" % (sys.argv[3], error.strerror))
    _made = globals().pop("_preloaded", {}), globals().pop("_cell"), globals().pop("_parser", None)
    _become_gunicorn(*globals().pop("_made"))  # the first and the last by a fork server
